#include <algorithm>
#include <mutex>
#include <utility>

#include "baton/cluster/membership.hpp"

namespace baton {
namespace {

class CombinedMembership final : public Membership {
 public:
  explicit CombinedMembership(std::vector<std::unique_ptr<Membership>> sources)
      : views_(sources.size()), sources_(std::move(sources)) {}

  void watch(Watcher watcher) override {
    watcher_ = std::move(watcher);
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      sources_[i]->watch([this, i](const std::vector<std::string>& addresses) { update(i, addresses); });
    }
    std::lock_guard lock(mutex_);
    begun_ = true;
    last_ = all();
    watcher_(last_);
  }

  Result<void> announce(const NodeInfo& self, const std::string& address) override {
    for (const auto& source : sources_) {
      if (auto announced = source->announce(self, address); !announced) return announced;
    }
    return {};
  }

  void leave() override {
    for (const auto& source : sources_) source->leave();
  }

 private:
  void update(std::size_t source, const std::vector<std::string>& addresses) {
    std::lock_guard lock(mutex_);  // held while the watcher runs: one call at a time
    views_[source] = addresses;
    if (!begun_) return;
    std::vector<std::string> now = all();
    if (now == last_) return;
    last_ = std::move(now);
    watcher_(last_);
  }

  std::vector<std::string> all() const {
    std::vector<std::string> out;
    for (const auto& view : views_) {
      for (const std::string& address : view) {
        if (std::find(out.begin(), out.end(), address) == out.end()) out.push_back(address);
      }
    }
    return out;
  }

  std::mutex mutex_;  // guards the next four
  Watcher watcher_;
  bool begun_ = false;
  std::vector<std::vector<std::string>> views_;       // one for each source
  std::vector<std::string> last_;                     // what the watcher was told
  std::vector<std::unique_ptr<Membership>> sources_;  // last: they call update() until they are gone
};

}  // namespace

std::unique_ptr<Membership> make_combined_membership(std::vector<std::unique_ptr<Membership>> sources) {
  return std::make_unique<CombinedMembership>(std::move(sources));
}

}  // namespace baton
