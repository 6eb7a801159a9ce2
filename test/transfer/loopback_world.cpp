// The contract suite's world of loopback transports.
#include "contract.hpp"

namespace baton::test {
namespace {

class LoopbackWorld final : public World {
 public:
  std::unique_ptr<KvTransport> make(const TransportOptions& options) override {
    return make_loopback_transport(hub_, options);
  }

 private:
  std::shared_ptr<LoopbackHub> hub_ = make_loopback_hub();
};

}  // namespace

std::unique_ptr<World> make_world() { return std::make_unique<LoopbackWorld>(); }

}  // namespace baton::test
