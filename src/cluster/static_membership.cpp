#include <algorithm>
#include <utility>

#include "baton/cluster/membership.hpp"
#include "baton/peer/address.hpp"

namespace baton {
namespace {

class StaticMembership final : public Membership {
 public:
  explicit StaticMembership(std::vector<std::string> addresses) : addresses_(std::move(addresses)) {}
  void watch(Watcher watcher) override { watcher(addresses_); }
  Result<void> announce(const NodeInfo&, const std::string&) override { return {}; }
  void leave() override {}

 private:
  const std::vector<std::string> addresses_;
};

}  // namespace

Result<std::unique_ptr<Membership>> make_static_membership(const std::vector<std::string>& peers) {
  std::vector<std::string> addresses;
  for (const std::string& text : peers) {
    const auto address = parse_host_port(text);
    if (!address) return make_error(ErrorCode::invalid_argument, "peer " + address.error().message, "peer");
    if (address->port == 0) {
      return make_error(ErrorCode::invalid_argument, "peer '" + text + "': the port must not be 0", "peer");
    }
    std::string canonical = to_string(*address);
    if (std::find(addresses.begin(), addresses.end(), canonical) == addresses.end()) {
      addresses.push_back(std::move(canonical));
    }
  }
  return std::unique_ptr<Membership>(std::make_unique<StaticMembership>(std::move(addresses)));
}

}  // namespace baton
