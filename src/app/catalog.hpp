// Models, systems and engine profiles by name: what ships in configs/, or files of the user's own.
#pragma once

#include <map>
#include <string>

#include "baton/base/result.hpp"
#include "baton/model/shape.hpp"
#include "baton/schedule/system_spec.hpp"

namespace baton {

// Reads each file once. Errors name the flag under which the name was given.
class Catalog {
 public:
  // A directory, a config.json, or a name in configs/models: "Llama-3.1-8B-Instruct" with or without its
  // organisation; suffixes that tell a quantisation (-FP8, -NVFP4) may follow a known name.
  Result<ModelShape> model(const std::string& name);
  Result<SystemSpec> system(const std::string& name, const std::string& flag = "--system");
  // "baton" from the system's own file; others from configs/systems/profiles, or `profile_file` where set.
  Result<EngineProfile> profile(const std::string& backend, const SystemSpec& system, Precision weights);

  std::string profile_file;

 private:
  std::map<std::string, ModelShape> models_;
  std::map<std::string, SystemSpec> systems_;
  std::map<std::string, EngineProfile> profiles_;
};

}  // namespace baton
