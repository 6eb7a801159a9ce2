// The contract suite's world of UCX transports, all in this process, over loopback.
#include <cstdlib>

#include "baton/transfer/ucx_transport.hpp"
#include "contract.hpp"
#include "support/catch.hpp"

namespace baton::test {
namespace {

class UcxWorld final : public World {
 public:
  std::unique_ptr<KvTransport> make(const TransportOptions& options) override {
    UcxOptions ucx;
    ucx.transport = options;
    ucx.transport.interface_address = "127.0.0.1";
    ucx.force_rendezvous = std::getenv("BATON_TEST_RENDEZVOUS") != nullptr;
    auto transport = make_ucx_transport(ucx, null_logger());
    if (!transport) FAIL(transport.error().message);
    return std::move(*transport);
  }
};

}  // namespace

std::unique_ptr<World> make_world() { return std::make_unique<UcxWorld>(); }

}  // namespace baton::test
