#include "baton/schedule/system_spec.hpp"

#include <array>
#include <nlohmann/json.hpp>

namespace baton {
namespace {

using nlohmann::json;

// Reads keys straight through; the first that is wrong is kept.
class Numbers {
 public:
  Numbers(const json& object, std::string path) : object_(object), path_(std::move(path)) {}
  void need(const char* key, double minimum, double& target) { read(key, minimum, target, true); }
  void may(const char* key, double minimum, double& target) { read(key, minimum, target, false); }
  const std::string& wrong() const { return wrong_; }

 private:
  void read(const char* key, double minimum, double& target, bool needed) {
    const auto found = object_.is_object() ? object_.find(key) : object_.end();
    if (!object_.is_object() || found == object_.end()) {
      if (needed && wrong_.empty()) wrong_ = path_ + key;
      return;
    }
    constexpr double kMost = 1e18;
    if (found->is_number() && found->get<double>() >= minimum && found->get<double>() <= kMost)
      target = found->get<double>();
    else if (wrong_.empty())
      wrong_ = path_ + key;
  }
  const json& object_;
  std::string path_;
  std::string wrong_;
};

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Error wrong_key(const std::string& file, const std::string& key) {
  return make_error(ErrorCode::invalid_argument, file + ": '" + key + "' is missing or out of range", key);
}

// The names in files beside where they belong.
std::string read_efficiency(const json& object, const std::string& path, Efficiency& e, bool needed) {
  Numbers numbers(object, path);
  const auto read = [&](const char* key, double minimum, double& target) {
    needed ? numbers.need(key, minimum, target) : numbers.may(key, minimum, target);
  };
  read("memory", 1e-3, e.memory);
  read("matmul", 1e-3, e.matmul);
  read("attention", 1e-3, e.attention);
  numbers.may("layer", 0, e.layer);
  numbers.may("slots", 0, e.slots);
  numbers.may("mixing", 0, e.mixing);
  numbers.may("base", 0, e.base);
  numbers.may("queue", 0, e.queue);
  return numbers.wrong();
}

std::string read_traits(const json& object, const std::string& path, EngineTraits& t) {
  Numbers numbers(object, path);
  numbers.may("step", 0, t.step);
  numbers.may("sequence", 0, t.sequence);
  numbers.may("expert_layer", 0, t.expert_layer);
  numbers.may("grouped", 1e-3, t.grouped);
  numbers.may("exchange", 0, t.exchange);
  numbers.may("exchange_gpu", 0, t.exchange_gpu);
  numbers.may("exchange_rate", 1e-3, t.exchange_rate);
  numbers.may("link", 1e-3, t.link);
  numbers.may("serial", 0, t.serial);
  numbers.may("kv_memory", 0, t.kv_memory);
  numbers.may("first_steps", 0, t.first_steps);
  numbers.may("crowd", 0, t.crowd);
  numbers.may("expert_base", 0, t.expert_base);
  numbers.may("first_layers", 0, t.first_layers);
  if (!numbers.wrong().empty()) return numbers.wrong();
  const auto kv = object.find("quantized_kv");
  if (kv == object.end()) return {};
  const auto precision = kv->is_string() ? parse_precision(kv->get_ref<const std::string&>()) : std::nullopt;
  if (!precision) return path + "quantized_kv";
  t.quantized_kv = *precision;
  return {};
}

std::string read_flops(const json& flops, SystemSpec& spec) {
  Numbers numbers(flops, "matmul_flops.");
  numbers.need("bf16", 1, spec.flops_bf16);
  numbers.may("fp8", 0, spec.flops_fp8);
  numbers.may("fp4", 0, spec.flops_fp4);
  return numbers.wrong();
}

}  // namespace

// Weights that the hardware cannot multiply are widened to what it can.
double SystemSpec::flops(Precision precision) const {
  if (precision == Precision::fp8 && flops_fp8 > 0) return flops_fp8;
  if (precision == Precision::fp4 && flops_fp4 > 0) return flops_fp4;
  return flops_bf16;
}

Result<SystemSpec> parse_system_spec(std::string_view text, const std::string& file) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object())
    return make_error(ErrorCode::invalid_argument, file + ": not a JSON object", "system");
  SystemSpec spec;
  spec.name = text_of(document, "name");
  spec.provenance = text_of(document, "provenance");
  if (spec.name.empty()) return wrong_key(file, "name");
  if (spec.provenance.empty()) return wrong_key(file, "provenance");
  const auto flops = document.find("matmul_flops");
  if (flops == document.end()) return wrong_key(file, "matmul_flops");
  if (const std::string wrong = read_flops(*flops, spec); !wrong.empty()) return wrong_key(file, wrong);
  Numbers numbers(document, "");
  numbers.need("memory_bandwidth", 1, spec.memory_bandwidth);
  numbers.need("memory_bytes", 1, spec.memory_bytes);
  numbers.may("peer_bandwidth", 0, spec.peer_bandwidth);
  numbers.may("node_gpus", 1, spec.node_gpus);
  numbers.need("link_bandwidth", 1, spec.link_bandwidth);
  numbers.need("link_latency", 0, spec.link_latency);
  numbers.may("jitter", 0, spec.jitter);
  if (!numbers.wrong().empty()) return wrong_key(file, numbers.wrong());
  const auto own = document.find("baton");
  if (own == document.end()) return spec;
  EngineProfile profile{"baton", {}, text_of(*own, "provenance"), {}, {}};
  profile.traits.expert_layer = profile.traits.expert_base = 1;
  profile.traits.one_process = true;
  std::string wrong = profile.provenance.empty() ? "baton.provenance" : "";
  if (wrong.empty()) wrong = read_efficiency(*own, "baton.", profile.efficiency, true);
  if (wrong.empty()) wrong = read_traits(*own, "baton.", profile.traits);
  if (!wrong.empty()) return wrong_key(file, wrong);
  spec.baton = profile;
  return spec;
}

Result<EngineProfile> parse_engine_profile(std::string_view text, const std::string& file,
                                           const std::string& system, Precision weights) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object())
    return make_error(ErrorCode::invalid_argument, file + ": not a JSON object", "backend");
  EngineProfile profile{
      text_of(document, "backend"), text_of(document, "version"), text_of(document, "provenance"), {}, {}};
  for (const char* key : {"backend", "version", "provenance"})
    if (text_of(document, key).empty()) return wrong_key(file, key);
  if (const auto traits = document.find("traits"); traits != document.end())
    if (const std::string wrong = read_traits(*traits, "traits.", profile.traits); !wrong.empty())
      return wrong_key(file, wrong);
  const auto fallback = document.find("default");
  if (fallback == document.end()) return wrong_key(file, "default");
  if (const std::string wrong = read_efficiency(*fallback, "default.", profile.efficiency, true);
      !wrong.empty())
    return wrong_key(file, wrong);
  const std::string key = system + "/" + std::string(to_string(weights));
  const auto entries = document.find("profiles");
  const bool known = entries != document.end() && entries->is_object() && entries->contains(key);
  if (known)
    if (const std::string wrong = read_efficiency((*entries)[key], key + ".", profile.efficiency, true);
        !wrong.empty())
      return wrong_key(file, wrong);
  profile.provenance =
      (known ? key + " " : "no rows for " + key + ", the default of " + profile.backend + " ") +
      profile.provenance;
  return profile;
}

}  // namespace baton
