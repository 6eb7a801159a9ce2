#include "ucx_context.hpp"

#include <ucs/config/global_opts.h>
#include <ucs/debug/debug.h>
#include <uct/api/uct.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "ucx_address.hpp"

namespace baton {
namespace transfer {
namespace {

constexpr const char* kReceiveSegment = "272k";  // of tcp: the largest eager message in one piece

bool set_in_environment(const std::string& key) { return std::getenv(("UCX_" + key).c_str()) != nullptr; }

// UCX installs handlers for SIGSEGV and its like when it is loaded. A crash of ours shall end as a crash, and
// a sanitizer's handler shall stay. Once in a process: these are process-wide settings.
void take_signals_back() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (set_in_environment("HANDLE_ERRORS") || set_in_environment("ERROR_SIGNALS")) return;
    if (ucs_global_opts.handle_errors == 0) return;
    for (unsigned i = 0; i < ucs_global_opts.error_signals.count; ++i)
      ucs_debug_disable_signal(ucs_global_opts.error_signals.signals[i]);
    (void)ucs_global_opts_set_value("ERROR_SIGNALS", "");
    (void)ucs_global_opts_set_value("HANDLE_ERRORS", "none");
  });
}

bool is_rdma(const UcxResource& resource) {
  for (const char* prefix : {"rc_", "dc_", "ud_"})
    if (resource.transport.starts_with(prefix)) return true;
  return false;
}

std::map<std::string, std::string> default_settings(const UcxOptions& options,
                                                    std::span<const UcxResource> resources) {
  // Never PROTO_ENABLE: it aborts with sockaddr endpoints in error mode PEER. One rail: a second one may be
  // another network.
  // No PUT over tcp: UCX 1.13 aborts the sender when a peer is lost among PUTs, and a PUT names an address in
  // the receiver's memory.
  std::map<std::string, std::string> settings{
      {"MAX_RNDV_RAILS", "1"}, {"TCP_PUT_ENABLE", "n"}, {"TCP_RX_SEG_SIZE", kReceiveSegment}};
  std::string rdma_devices, rdma_transports, gpu_transports;
  for (const UcxResource& resource : resources) {
    const bool of_gpu = resource.transport.starts_with("cuda_") || resource.transport.starts_with("gdr_");
    if (of_gpu && gpu_transports.find(resource.transport) == std::string::npos)
      gpu_transports += "," + resource.transport;
    if (!is_rdma(resource)) continue;
    if (rdma_devices.find(resource.device) == std::string::npos) rdma_devices += "," + resource.device;
    if (resource.transport == "rc_mlx5") rdma_transports += "rc_x,";
    if (resource.transport == "dc_mlx5") rdma_transports += "dc_x,";
    if (resource.transport == "rc_verbs") rdma_transports += "rc_v,";
  }
  settings["TLS"] = rdma_transports + "tcp";  // wire-up needs tcp
  if (!rdma_transports.empty()) {
    settings["RNDV_SCHEME"] = "get_zcopy";
    settings["RNDV_THRESH"] = "0";
    if (options.pool_on_gpu) settings["TLS"] += gpu_transports;
  }
  if (const auto ip = parse_ip(options.transport.interface_address); ip) {
    // One family, never both: listen_address.hpp.
    settings["TCP_AF_PRIO"] = ip->family == 4 ? "inet" : "inet6";
    for (const Interface& interface : local_interfaces())
      if (interface.address == *ip) settings["NET_DEVICES"] = interface.name + rdma_devices;
  }
  return settings;
}

Result<void> apply(ucp_config_t* config, const std::string& key, const std::string& value) {
  // Through this interface a transport's own settings go without its prefix, unlike in the environment.
  const bool of_tcp = key.starts_with("TCP_") && !key.starts_with("TCP_CM_");
  const std::string name = of_tcp ? key.substr(4) : key;
  if (ucp_config_modify(config, name.c_str(), value.c_str()) == UCS_OK) return {};
  if (ucs_global_opts_set_value(key.c_str(), value.c_str()) == UCS_OK) return {};
  return make_error(ErrorCode::invalid_argument, "UCX does not accept " + key + "=" + value, key);
}

}  // namespace

Error ucx_error(ErrorCode code, const std::string& what, ucs_status_t status) {
  return make_error(code, what + ": " + ucs_status_string(status));
}

Result<std::unique_ptr<UcxContext>> UcxContext::make(const UcxOptions& options, Logger& logger) {
  take_signals_back();
  auto resources = list_ucx_resources();
  if (!resources) return resources.error();
  auto settings = default_settings(options, *resources);
  for (const auto& [key, value] : options.settings) settings[key] = value;

  ucp_config_t* config = nullptr;
  if (const ucs_status_t status = ucp_config_read(nullptr, nullptr, &config); status != UCS_OK)
    return ucx_error(ErrorCode::invalid_argument, "UCX's settings", status);
  const std::unique_ptr<ucp_config_t, decltype(&ucp_config_release)> owner(config, ucp_config_release);
  for (const auto& [key, value] : settings) {
    if (set_in_environment(key)) continue;
    if (auto applied = apply(config, key, value); !applied) return applied.error();
  }

  std::unique_ptr<UcxContext> made(new UcxContext);
  const char* environment_tls = std::getenv("UCX_TLS");
  const std::string tls = environment_tls != nullptr ? environment_tls : settings["TLS"];
  const bool uses_rdma = std::ranges::any_of(*resources, is_rdma) && tls != "tcp";
  made->rendezvous_ = uses_rdma || options.force_rendezvous;
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.name = "baton";
  if (const ucs_status_t status = ucp_init(&params, config, &made->context_); status != UCS_OK)
    return ucx_error(ErrorCode::unavailable, "UCX does not start with TLS=" + tls, status);

  if (options.pool != nullptr && options.pool_bytes > 0) made->register_pool(options, logger);
  return made;
}

// A pool that is not registered: every transfer registers what it touches, or takes the way through host
// memory. Slower, not wrong.
void UcxContext::register_pool(const UcxOptions& options, Logger& logger) {
  ucp_mem_map_params_t map{};
  map.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  map.address = options.pool;
  map.length = options.pool_bytes;
  if (options.pool_on_gpu) {
    ucp_context_attr_t attributes{};
    attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
    const bool told = ucp_context_query(context_, &attributes) == UCS_OK;
    const bool cuda = told && (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA)) != 0;
    if (!cuda || !rendezvous_) {
      logger.info("KV blocks travel through host memory",
                  {{"reason", cuda ? "no RDMA device" : "UCX, or its TLS, has no CUDA"}});
      return;
    }
    map.field_mask |= UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE;
    map.memory_type = UCS_MEMORY_TYPE_CUDA;
  }
  if (const ucs_status_t status = ucp_mem_map(context_, &map, &pool_); status != UCS_OK) {
    pool_ = nullptr;
    logger.warn("UCX cannot register the KV pool", {{"reason", ucs_status_string(status)}});
    return;
  }
  pool_bytes_ = {options.pool, options.pool_bytes};
  on_gpu_ = options.pool_on_gpu;
  if (on_gpu_) logger.info("UCX reaches the GPU's memory: KV blocks move without copies in host memory");
}

UcxContext::~UcxContext() {
  if (leaked_ || context_ == nullptr) return;
  if (pool_ != nullptr) (void)ucp_mem_unmap(context_, pool_);
  ucp_cleanup(context_);
}

bool UcxContext::in_pool(std::span<const std::byte> bytes) const {
  const std::less_equal<const std::byte*> before;
  return pool_ != nullptr && before(pool_bytes_.data(), bytes.data()) &&
         before(bytes.data() + bytes.size(), pool_bytes_.data() + pool_bytes_.size());
}

void UcxContext::describe(std::span<const std::byte> bytes, ucp_request_param_t& param) const {
  if (!in_pool(bytes)) return;
  param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
  param.memh = pool_;
  if (!on_gpu_) return;
  param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  param.memory_type = UCS_MEMORY_TYPE_CUDA;
}

}  // namespace transfer

namespace {

void list_memory_domain(uct_component_h component, const char* name, std::vector<UcxResource>& found) {
  uct_md_config_t* config = nullptr;
  if (uct_md_config_read(component, nullptr, nullptr, &config) != UCS_OK) return;
  uct_md_h md = nullptr;
  const ucs_status_t status = uct_md_open(component, name, config, &md);
  uct_config_release(config);
  if (status != UCS_OK) return;
  uct_tl_resource_desc_t* resources = nullptr;
  unsigned count = 0;
  if (uct_md_query_tl_resources(md, &resources, &count) == UCS_OK) {
    for (unsigned i = 0; i < count; ++i) found.push_back({resources[i].tl_name, resources[i].dev_name});
    uct_release_tl_resource_list(resources);
  }
  uct_md_close(md);
}

}  // namespace

Result<std::vector<UcxResource>> list_ucx_resources() {
  uct_component_h* components = nullptr;
  unsigned count = 0;
  if (const ucs_status_t status = uct_query_components(&components, &count); status != UCS_OK)
    return transfer::ucx_error(ErrorCode::unavailable, "UCX's components", status);
  std::vector<UcxResource> found;
  for (unsigned i = 0; i < count; ++i) {
    uct_component_attr_t attributes{};
    attributes.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCE_COUNT;
    if (uct_component_query(components[i], &attributes) != UCS_OK) continue;
    std::vector<uct_md_resource_desc_t> domains(attributes.md_resource_count);
    attributes.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCES;
    attributes.md_resources = domains.data();
    if (domains.empty() || uct_component_query(components[i], &attributes) != UCS_OK) continue;
    for (const uct_md_resource_desc_t& domain : domains)
      list_memory_domain(components[i], domain.md_name, found);
  }
  uct_release_component_list(components);
  return found;
}

std::string ucx_version() { return ucp_get_version_string(); }

}  // namespace baton
