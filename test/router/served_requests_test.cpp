// Requests that other daemons send here: those with a grammar wait until it is compiled, the others do not,
// and whatever comes meanwhile finds them.
#include "router/served_requests.hpp"

#include <condition_variable>
#include <mutex>

#include "support/catch.hpp"
#include "support/fake_grammar.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

// Compiles one grammar for each time that it is let; "bad" is none.
class PatientCompiler final : public GrammarCompiler {
 public:
  Result<std::shared_ptr<const TokenGrammar>> compile(const std::string& grammar) override {
    std::unique_lock lock(mutex_);
    begun_.push_back(grammar);
    changed_.notify_all();
    changed_.wait_for(lock, 20s, [&] { return allowed_ > 0; });
    --allowed_;
    if (grammar == "throws") throw std::bad_alloc();
    if (grammar == "bad") return make_error(ErrorCode::invalid_argument, "line 1: no rule");
    return std::shared_ptr<const TokenGrammar>(exactly({7}, 3));
  }
  void allow(int count = 1) {
    std::lock_guard lock(mutex_);
    allowed_ += count;
    changed_.notify_all();
  }
  bool wait_begun(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return begun_.size() >= count; });
  }
  std::vector<std::string> begun() {
    std::lock_guard lock(mutex_);
    return begun_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> begun_;
  int allowed_ = 0;
};

// Remembers what it was given. What comes stopped is answered as an engine does.
struct RecordingEngine final : InferenceService {
  struct Submitted {
    Request request;
    bool stopped;
    std::shared_ptr<TokenSink> sink;
  };
  Result<void> submit(Request request, std::stop_token stop, std::shared_ptr<TokenSink> sink) override {
    if (full) return make_error(ErrorCode::overloaded, "the engine's queue is full");
    submitted.push_back({std::move(request), stop.stop_requested(), sink});
    if (stop.stop_requested()) sink->on_error(make_error(ErrorCode::cancelled, "the request was cancelled"));
    return {};
  }
  std::vector<Submitted> submitted;
  bool full = false;
};

struct Fixture {
  Fixture()
      : served(
            [this](const std::string& node, const Message& message) {
              sent.emplace_back(node, message);
              return true;
            },
            [this](std::function<void()> task) {
              std::lock_guard lock(mutex);
              tasks.push_back(std::move(task));
              changed.notify_all();
            }) {
    served.start_compiling(compiler);
  }
  ~Fixture() { compiler.allow(1000); }

  void submit(std::uint64_t id, const std::string& grammar, Phase phase = Phase::whole,
              std::uint32_t generation = 0) {
    Request request;
    request.id = {1, id};
    request.generation = generation;
    request.prompt = {1, 2, 3};
    request.phase = phase;
    request.grammar = grammar;
    served.submit(engine, "front", SubmitMessage{request});
  }
  // Runs the next posted task, as the router's thread does; false where none comes.
  bool run_task() {
    std::unique_lock lock(mutex);
    if (!changed.wait_for(lock, 20s, [&] { return !tasks.empty(); })) return false;
    const auto task = std::move(tasks.front());
    tasks.erase(tasks.begin());
    lock.unlock();
    task();
    return true;
  }
  std::vector<Error> failures() const {
    std::vector<Error> errors;
    for (const auto& [node, message] : sent)
      if (const auto* fail = std::get_if<FailMessage>(&message)) errors.push_back(fail->error);
    return errors;
  }

  PatientCompiler compiler;
  RecordingEngine engine;
  std::vector<std::pair<std::string, Message>> sent;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::function<void()>> tasks;
  ServedRequests served;
};

}  // namespace

TEST_CASE("a request with a grammar reaches the engine once that is compiled, one without at once") {
  Fixture f;
  f.submit(1, "good");
  REQUIRE(f.compiler.wait_begun(1));
  CHECK(f.engine.submitted.empty());
  f.submit(2, "");
  REQUIRE(f.engine.submitted.size() == 1);
  CHECK(f.engine.submitted[0].request.id.low == 2);
  f.compiler.allow();
  REQUIRE(f.run_task());
  REQUIRE(f.engine.submitted.size() == 2);
  CHECK(f.engine.submitted[1].request.grammar.empty());  // an engine has no use for the text
  CHECK(f.engine.submitted[1].request.compiled_grammar != nullptr);
  CHECK_FALSE(f.engine.submitted[1].stopped);
  CHECK(f.sent.empty());
  CHECK(f.served.size() == 2);
}

TEST_CASE("a grammar that does not compile fails the request by its own error, once") {
  for (const Phase phase : {Phase::whole, Phase::decode}) {
    Fixture f;
    f.engine.full = phase == Phase::whole;  // either way out of the engine
    f.submit(1, "bad", phase);
    f.compiler.allow();
    REQUIRE(f.run_task());
    if (!f.engine.full) {
      REQUIRE(f.engine.submitted.size() == 1);  // so that it lets go of what was sent ahead
      CHECK(f.engine.submitted[0].stopped);
      REQUIRE(f.run_task());
    }
    REQUIRE(f.failures().size() == 1);
    CHECK(f.failures()[0].code == ErrorCode::invalid_argument);
    CHECK(f.failures()[0].message == "line 1: no rule");
    CHECK(f.failures()[0].field == "grammar");
    CHECK(f.sent[0].first == "front");
    CHECK(f.served.size() == 0);
  }
}

TEST_CASE("a compiler that throws fails its request only") {
  Fixture f;
  f.compiler.allow(2);
  f.submit(1, "throws");
  f.submit(2, "good");
  for (int i = 0; i < 3; ++i) REQUIRE(f.run_task());
  REQUIRE(f.failures().size() == 1);
  CHECK(f.failures()[0].code == ErrorCode::internal);
  REQUIRE(f.engine.submitted.size() == 2);
  CHECK(f.engine.submitted[1].request.id.low == 2);
  CHECK(f.served.size() == 1);
}

TEST_CASE("what is cancelled before its grammar is compiled is answered as cancelled") {
  Fixture f;
  f.submit(1, "good");
  f.submit(2, "waits");
  REQUIRE(f.compiler.wait_begun(1));
  const RequestKey first{{1, 1}, 0}, second{{1, 2}, 0};
  f.served.cancel("front", {first, 0});
  SECTION("by its daemon") { f.served.cancel("front", {second, 0}); }
  SECTION("because its daemon is gone") { f.served.peer_down("front"); }
  f.compiler.allow(2);
  for (int i = 0; i < 4; ++i) REQUIRE(f.run_task());
  REQUIRE(f.engine.submitted.size() == 2);
  CHECK(f.engine.submitted[0].stopped);
  CHECK(f.engine.submitted[1].stopped);
  for (const Error& error : f.failures()) CHECK(error.code == ErrorCode::cancelled);
  CHECK(f.failures().size() == 2);
  CHECK(f.compiler.begun() == std::vector<std::string>{"good"});  // the other one was not worth it
  CHECK(f.served.size() == 0);
}

TEST_CASE("a newer attempt stops the one whose grammar is still compiled") {
  Fixture f;
  f.submit(1, "good", Phase::whole, 1);
  REQUIRE(f.compiler.wait_begun(1));
  f.submit(1, "good", Phase::whole, 2);
  f.compiler.allow(2);
  REQUIRE(f.run_task());  // the older one is compiled and reaches the engine stopped
  REQUIRE(f.run_task());
  REQUIRE(f.run_task());
  REQUIRE(f.engine.submitted.size() == 2);
  CHECK(f.engine.submitted[0].stopped);
  CHECK_FALSE(f.engine.submitted[1].stopped);
  CHECK(f.engine.submitted[1].request.generation == 2);
  CHECK(f.served.size() == 1);
}

TEST_CASE("a node without a compiler refuses grammars, and nothing else") {
  Fixture f;
  f.served.stop_compiling();
  f.submit(1, "good");
  REQUIRE(f.failures().size() == 1);
  CHECK(f.failures()[0].code == ErrorCode::unsupported);
  f.submit(2, "");
  CHECK(f.engine.submitted.size() == 2);
  CHECK_FALSE(f.engine.submitted[1].stopped);
}

TEST_CASE("grammars that wait are bounded, but for requests that are under way") {
  Fixture f;
  f.submit(1, "good");
  REQUIRE(f.compiler.wait_begun(1));
  std::uint64_t id = 2;
  while (f.failures().empty() && id < 5000) f.submit(id++, "good");
  REQUIRE(f.failures().size() == 1);
  CHECK(id > 100);
  CHECK(f.failures()[0].code == ErrorCode::overloaded);
  f.submit(id, "good", Phase::decode);
  CHECK(f.failures().size() == 1);
}
