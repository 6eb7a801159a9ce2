#include "app/pull_options.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

namespace baton {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostTokenBytes = 4096;

std::optional<std::string> read_token(const fs::path& file) {
  std::error_code ignored;
  if (fs::is_directory(file, ignored)) return std::nullopt;
  std::ifstream in(file, std::ios::binary);
  std::string text(kMostTokenBytes, '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(text.size())) && !in.eof()) return std::nullopt;
  text.resize(static_cast<std::size_t>(in.gcount()));
  constexpr const char* kBlank = " \t\r\n";
  text.erase(text.find_last_not_of(kBlank) + 1);
  text.erase(0, text.find_first_not_of(kBlank));
  return text;
}

// Of XDG: a variable, else a folder in the home directory; empty where there is neither.
fs::path cache_folder(const Environment& env) {
  if (const std::string cache = env("XDG_CACHE_HOME"); cache.starts_with('/')) return cache;
  const std::string home = env("HOME");
  return home.empty() ? fs::path() : fs::path(home) / ".cache";
}

}  // namespace

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before any thread
  return value == nullptr ? "" : value;
}

std::string hub_endpoint(const std::string& flag, const Environment& env) {
  if (!flag.empty()) return flag;
  const std::string set = env("HF_ENDPOINT");
  return set.empty() ? "https://huggingface.co" : set;
}

Result<std::string> hub_token(const std::string& token_file, const Environment& env) {
  const auto named = [](const std::string& file, const char* by) -> Result<std::string> {
    if (auto token = read_token(file); token && !token->empty()) return *std::move(token);
    return make_error(ErrorCode::invalid_argument, std::string(by) + ": no token can be read from " + file,
                      by);
  };
  if (!token_file.empty()) return named(token_file, "--token-file");
  if (std::string token = env("HF_TOKEN"); !token.empty()) return token;
  if (const std::string file = env("HF_TOKEN_PATH"); !file.empty()) return named(file, "HF_TOKEN_PATH");
  const std::string home = env("HF_HOME");
  const fs::path folder = home.empty() ? cache_folder(env) / "huggingface" : fs::path(home);
  return read_token(folder / "token").value_or("");
}

Result<fs::path> default_model_directory(const hub::Repository& repository, const Environment& env) {
  const fs::path cache = cache_folder(env);
  if (cache.empty())
    return make_error(ErrorCode::invalid_argument,
                      "neither HOME nor XDG_CACHE_HOME is set: say with --to where the model goes", "--to");
  std::string name = repository.name;
  if (repository.revision != "main") name += "@" + hub::flat_name(repository.revision);
  return cache / "baton/models" / repository.organisation / name;
}

std::string pull_hint(const std::string& text, const Environment& env) {
  const auto repository = hub::parse_repository(text);
  if (!repository) return {};
  std::error_code ignored;
  const auto directory = default_model_directory(*repository, env);
  if (directory && fs::exists(*directory / "config.json", ignored))
    return "it was pulled to " + directory->string() + ": give that";
  return "if it is a model on the Hugging Face Hub, `baton pull " + text + "` fetches it";
}

std::string shell_word(const std::string& text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/._-+=@%:,").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::ranges::all_of(text, plain)) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace baton
