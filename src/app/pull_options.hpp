// What `baton pull` takes from its flags, else from the environment: the same variables and files as Hugging
// Face's own tools.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "baton/base/result.hpp"
#include "baton/hub/repository.hpp"

namespace baton {

// The value of an environment variable; empty where it is not set.
using Environment = std::function<std::string(const char*)>;
std::string environment(const char* name);

// --endpoint, else HF_ENDPOINT, else https://huggingface.co.
std::string hub_endpoint(const std::string& flag, const Environment& env);

// --token-file, else HF_TOKEN, else the file HF_TOKEN_PATH, else token in HF_HOME or ~/.cache/huggingface;
// empty where there is none. invalid_argument where a file that was named cannot be read. The token is in no
// message.
Result<std::string> hub_token(const std::string& token_file, const Environment& env);

// baton/models/ORG/NAME in XDG_CACHE_HOME or ~/.cache, with @REVISION where it is not main. invalid_argument
// where neither is known.
Result<std::filesystem::path> default_model_directory(const hub::Repository& repository,
                                                      const Environment& env);

// What `baton serve --model TEXT` may say where there is no directory TEXT; empty where it names no
// repository.
std::string pull_hint(const std::string& text, const Environment& env);

// Fit to be pasted into a shell.
std::string shell_word(const std::string& text);

}  // namespace baton
