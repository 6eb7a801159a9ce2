// Fair shares among tenants, and the longest wait in the queue.
#include <map>
#include <string>

#include "schedule/scheduler_rig.hpp"

using namespace baton;
using namespace baton::test;

namespace {

Request of(Rig& rig, const std::string& tenant, std::int32_t prompt, std::int32_t max_tokens = 4) {
  Request r = rig.request(prompt, max_tokens);
  r.tenant = tenant;
  return r;
}

}  // namespace

TEST_CASE("a tenant that floods the queue does not keep another one waiting") {
  SchedulerLimits limits;
  limits.max_sequences = 1;
  Rig rig(64, limits);
  std::vector<RequestKey> flood;
  for (int i = 0; i < 6; ++i) flood.push_back(rig.admitted(of(rig, "flood", 8)));
  rig.step();  // the first of them runs
  const RequestKey late = rig.admitted(of(rig, "late", 8));
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 7);
  CHECK(key_of(ended[0].sequence->request) == flood[0]);
  CHECK(key_of(ended[1].sequence->request) == late);  // before the five that came earlier
}

TEST_CASE("two tenants that always have requests get as many tokens each, whatever their sizes") {
  SchedulerLimits limits;
  limits.max_sequences = 2;
  Rig rig(256, limits);
  for (int i = 0; i < 120; ++i) rig.admitted(of(rig, "short", 8, 4));
  for (int i = 0; i < 40; ++i) rig.admitted(of(rig, "long", 40, 20));
  std::map<std::string, std::int64_t> tokens;
  for (int i = 0; i < 220; ++i) {
    for (EndedSequence& e : rig.step().ended) {
      tokens[e.sequence->request.tenant] += e.sequence->size();
      e.sequence->blocks.clear();
    }
  }
  REQUIRE(rig.scheduler.waiting() > 10);
  CHECK(tokens["short"] > 0.7 * static_cast<double>(tokens["long"]));
  CHECK(tokens["long"] > 0.7 * static_cast<double>(tokens["short"]));
}

TEST_CASE("priority goes before fairness, and within a tenant the older goes first") {
  SchedulerLimits limits;
  limits.max_sequences = 1;
  Rig rig(64, limits);
  rig.admitted(of(rig, "a", 8));
  rig.step();
  const RequestKey second = rig.admitted(of(rig, "a", 8)), third = rig.admitted(of(rig, "b", 8)),
                   fourth = rig.admitted(of(rig, "b", 8));
  Request urgent = of(rig, "a", 8);
  urgent.priority = 1;
  const RequestKey first = rig.admitted(urgent);
  const auto ended = rig.drain();
  REQUIRE(ended.size() == 5);
  CHECK(key_of(ended[1].sequence->request) == first);
  CHECK(key_of(ended[2].sequence->request) == third);   // b has had nothing yet
  CHECK(key_of(ended[3].sequence->request) == fourth);  // and even then less than a
  CHECK(key_of(ended[4].sequence->request) == second);
}

TEST_CASE("a pause saves nothing up") {
  SchedulerLimits limits;
  limits.max_sequences = 1;
  Rig rig(64, limits);
  for (int i = 0; i < 3; ++i) rig.admitted(of(rig, "busy", 8));
  rig.admitted(of(rig, "other", 8));
  rig.drain();
  // "idle" comes after the others have had much: it gets its share from now on, not what it missed.
  for (int i = 0; i < 2; ++i) rig.admitted(of(rig, "busy", 8));
  for (int i = 0; i < 4; ++i) rig.admitted(of(rig, "idle", 8));
  std::vector<std::string> order;
  for (const EndedSequence& e : rig.drain()) order.push_back(e.sequence->request.tenant);
  REQUIRE(order.size() == 6);
  CHECK(std::count(order.begin(), order.begin() + 4, "busy") == 2);
}

TEST_CASE("what waits longer than the queue's limit leaves; what was scheduled once does not") {
  SchedulerLimits limits;
  limits.max_sequences = 1;
  limits.queue_timeout = milliseconds(10);
  Rig rig(64, limits);
  const RequestKey runs = rig.admitted(of(rig, "", 8, 50)), waits = rig.admitted(of(rig, "", 8, 50));
  std::vector<RequestKey> expired;
  for (int i = 0; i < 30; ++i) {
    const StepPlan plan = rig.plan();
    for (const auto& sequence : plan.expired) expired.push_back(key_of(sequence->request));
    rig.commit(plan);
  }
  CHECK(expired == Keys{waits});
  CHECK(rig.scheduler.find(runs) != nullptr);
  CHECK(rig.scheduler.find(waits) == nullptr);
}

TEST_CASE("a sequence that is handed off ends with its next token and keeps its blocks until then") {
  Rig rig;
  const RequestKey key = rig.admitted(rig.request(10, 50));
  for (int i = 0; i < 5; ++i) rig.step();
  rig.scheduler.hand_off(key, "elsewhere");
  StepOutcome outcome = rig.step();
  REQUIRE(outcome.ended.size() == 1);
  const EndedSequence& ended = outcome.ended.front();
  CHECK(ended.handed_off);
  CHECK(ended.sequence->request.decode_node == "elsewhere");
  CHECK(ended.sequence->request.output.size() == 6);
  CHECK(ended.sequence->computed + 1 == ended.sequence->size());
  CHECK(ended.sequence->blocks.size() * kBlockSize >= static_cast<std::size_t>(ended.sequence->computed));
}
