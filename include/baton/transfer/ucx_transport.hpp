// KvTransport over UCX active messages. Its own CMake target (baton_transfer_ucx), the only one that links
// UCX.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "baton/base/log.hpp"
#include "baton/base/result.hpp"
#include "baton/transfer/kv_transport.hpp"

namespace baton {

struct UcxOptions {
  TransportOptions transport;
  std::map<std::string, std::string> settings;  // UCX settings without the "UCX_" prefix, e.g. {"TLS",
                                                // "rc_x,tcp"}; the environment's UCX_* win
  // Registered with UCX once, so that blocks inside it move without copies: the engine's KV pool.
  std::byte* pool = nullptr;
  std::size_t pool_bytes = 0;
  bool pool_on_gpu = false;       // registered only where UCX and an RDMA device reach GPU memory
  bool force_rendezvous = false;  // for tests: on tcp alone, blocks travel as eager messages
};

Result<std::unique_ptr<KvTransport>> make_ucx_transport(const UcxOptions& options, Logger& logger);

// For `baton doctor`: what this machine's UCX offers ("tcp eth0", "rc_mlx5 mlx5_0:1", ...), and its version.
struct UcxResource {
  std::string transport;
  std::string device;
};
Result<std::vector<UcxResource>> list_ucx_resources();
std::string ucx_version();

}  // namespace baton
