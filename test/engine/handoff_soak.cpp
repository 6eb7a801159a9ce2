// Handoffs by the thousands under faults: two engines that prefill for each other while transfers are
// dropped, delayed, corrupted, truncated and refused, messages are late or lost, and the link dies and comes
// back.
//
//   handoff_soak [--transfers N] [--seed S] [--in-flight N] [--transport ucx|loopback] [--deadline-ms N]
//                [--window N]
//
// With --window two of three groups of blocks are kept for a window of N tokens only.
//
// Every answer is compared with what an undisturbed run gives: any damage to the KV cache shows in the tokens
// (fake_model.hpp). At the end nothing may be pinned, reserved or travelling. Exit 0: no wrong token, no lost
// block, nobody waited for ever. Equal seeds draw equal requests and faults; threads interleave as they like.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "baton/base/fault.hpp"
#include "baton/engine/engine.hpp"
#include "baton/transfer/ucx_transport.hpp"
#include "engine/fake_model.hpp"
#include "support/collecting_sink.hpp"

using namespace baton;
using namespace baton::test;
using namespace std::chrono_literals;

namespace {

constexpr std::int32_t kBlockSize = 16;
constexpr std::int32_t kHeadDim = 64;   // 8 KiB a block
constexpr std::int32_t kBlocks = 1500;  // of each group
constexpr auto kHang = 30s;             // an answer that takes longer is a hung client

// Where nothing else is said: about one transfer in five meets something.
constexpr const char* kFaults =
    "transfer.send=drop%0.7,transfer.send=corrupt%1,transfer.send=truncate%0.5,transfer.send=fail%0.3,"
    "transfer.send=hold:120%0.02,transfer.receive=corrupt%0.5,transfer.receive=drop%0.3,"
    "transfer.receive=hold:5%0.5,handoff.reserve=drop%1";

struct Options {
  std::uint64_t transfers = 2000, seed = 1;
  int in_flight = 32;
  int deadline_ms = 50;
  std::int32_t window = 0;
  bool ucx = true;
};

struct Side;

// The control stream between the two engines. Messages may be late, which also reorders them, or lost, which
// a stream never does: the deadlines must bear that, too.
class Wire final : public ControlPlane {
 public:
  Wire(std::string self, std::map<std::string, Engine*>& engines, std::uint64_t seed)
      : self_(std::move(self)),
        engines_(engines),
        dice_(seed),
        courier_([this](const std::stop_token& stop) { deliver_late(stop); }) {}
  bool send(const std::string& node, const Message& message) override {
    if (!connected) return false;
    const double fate = draw();
    if (fate < 0.002) return true;
    if (fate < 0.01) {
      std::lock_guard lock(mutex_);
      late_.emplace_back(std::chrono::steady_clock::now() + 20ms, std::pair{node, message});
      return true;
    }
    engines_.at(node)->handle(self_, message);
    return true;
  }
  void publish(const BlockEventsMessage&) override {}
  std::atomic<bool> connected = true;

 private:
  double draw() {
    std::lock_guard lock(mutex_);
    return std::uniform_real_distribution<>()(dice_);
  }
  void deliver_late(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(2ms);
      std::vector<std::pair<std::string, Message>> due;
      {
        std::lock_guard lock(mutex_);
        while (!late_.empty() && late_.front().first <= std::chrono::steady_clock::now()) {
          due.push_back(std::move(late_.front().second));
          late_.erase(late_.begin());
        }
      }
      for (auto& [node, message] : due) engines_.at(node)->handle(self_, std::move(message));
    }
  }

  const std::string self_;
  std::map<std::string, Engine*>& engines_;
  std::mutex mutex_;
  std::mt19937_64 dice_;
  std::vector<std::pair<TimePoint, std::pair<std::string, Message>>> late_;
  std::jthread courier_;
};

KvSpec soak_spec(std::int32_t window) {
  KvSpec spec = fake_kv_spec(kBlockSize, window > 0 ? KvGroups{1, 2, window} : KvGroups{});
  spec.layout.head_dim = kHeadDim;
  return spec;
}

struct Side {
  Side(std::string node_name, const Options& options, const std::shared_ptr<LoopbackHub>& hub,
       std::map<std::string, Engine*>& engines)
      : name(std::move(node_name)), wire(name, engines, options.seed * 2 + (name == "left" ? 0 : 1)) {
    if (auto armed = faults.configure("seed=" + std::to_string(options.seed) + "," + kFaults); !armed) {
      std::fprintf(stderr, "%s\n", armed.error().message.c_str());
      std::exit(2);
    }
    const KvSpec spec = soak_spec(options.window);
    const std::int32_t blocks = kBlocks * spec.layout.groups.count();
    kv.emplace(*KvMemory::allocate(spec, spec.layout.block_bytes() * static_cast<std::size_t>(blocks), blocks,
                                   Device{}));
    TransportOptions t;
    t.piece_bytes = spec.layout.head_bytes();
    t.faults = &faults;
    if (options.ucx) {
      UcxOptions u;
      u.transport = t;
      u.transport.interface_address = "127.0.0.1";
      u.pool = kv->bytes().data();
      u.pool_bytes = kv->bytes().size();
      transport = *make_ucx_transport(u, null_logger());
    } else {
      transport = make_loopback_transport(hub, t);
    }
    EngineOptions e;
    e.node_name = name;
    e.limits = {64, 512, 4096, 4096, {}};
    e.transfer_timeout = e.reserve_timeout = std::chrono::milliseconds(options.deadline_ms);
    Engine::Parts parts;
    parts.executor = std::make_unique<FakeExecutor>(kv->view());
    parts.kv = kv->view();
    parts.transport = transport.get();
    parts.control = &wire;
    parts.clock = &clock;
    parts.logger = &null_logger();
    parts.faults = &faults;
    engine = std::make_unique<Engine>(e, std::move(parts));
    engines[name] = engine.get();
  }

  const std::string name;
  SteadyClock clock;
  FaultPoints faults;
  Wire wire;
  std::optional<KvMemory> kv;
  std::unique_ptr<KvTransport> transport;
  std::unique_ptr<Engine> engine;
};

// Tokens of a decode stage, whose indexes go on from the prefill stage's.
struct Rest final : TokenSink {
  void on_token(const TokenEvent& event) override { tokens.push_back(event.token.token); }
  void on_finish(const FinishEvent& event) override { end.on_finish(event); }
  void on_error(const Error& error) override { end.on_error(error); }
  std::vector<TokenId> tokens;
  CollectingSink end;
};

struct Tally {
  std::atomic<std::uint64_t> begun{0}, done{0}, recomputed{0}, cancelled{0}, wrong{0}, failed{0}, hung{0};
};

class Soak {
 public:
  explicit Soak(const Options& options)
      : options_(options),
        hub_(make_loopback_hub()),
        left_("left", options, hub_, engines_),
        right_("right", options, hub_, engines_) {
    connect();
    left_.engine->start();
    right_.engine->start();
  }

  int run() {
    const auto begun = std::chrono::steady_clock::now();
    {
      std::vector<std::jthread> clients;
      for (int i = 0; i < options_.in_flight; ++i)
        clients.emplace_back([this, i] { ask(options_.seed * 1000 + static_cast<std::uint64_t>(i)); });
      std::jthread enemy([this](const std::stop_token& stop) { break_links(stop); });
      while (tally_.done < options_.transfers && tally_.hung == 0) {
        std::this_thread::sleep_for(200ms);
        show_progress();
      }
    }
    const double seconds = to_seconds(std::chrono::steady_clock::now() - begun);
    const bool clean = at_rest(left_) & at_rest(right_);
    left_.engine->stop();
    right_.engine->stop();
    report(seconds, clean);
    return clean && tally_.wrong + tally_.failed + tally_.hung == 0 ? 0 : 1;
  }

 private:
  void connect() {
    (void)left_.transport->connect("right", right_.transport->address());
    (void)right_.transport->connect("left", left_.transport->address());
    left_.wire.connected = right_.wire.connected = true;
  }

  // The network between the two is gone for a moment, as the peers' own silence would tell them.
  void break_links(const std::stop_token& stop) {
    std::mt19937_64 dice(options_.seed);
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(300 + dice() % 700));
      left_.wire.connected = right_.wire.connected = false;
      left_.transport->disconnect("right");
      right_.transport->disconnect("left");
      left_.engine->peer_down("right");
      right_.engine->peer_down("left");
      std::this_thread::sleep_for(std::chrono::milliseconds(dice() % 30));
      connect();
    }
  }

  // One client: a request after the other, as the router would send them.
  void ask(std::uint64_t seed) {
    std::mt19937_64 dice(seed);
    while (tally_.begun++ < options_.transfers && tally_.hung == 0) {
      const bool forth = dice() % 2 == 0;
      answer(make_request(dice), forth ? left_ : right_, forth ? right_ : left_, dice() % 50 == 0);
      ++tally_.done;
    }
  }

  Request make_request(std::mt19937_64& dice) {
    Request request;
    request.id = {dice(), ++ids_};
    const std::size_t shared = dice() % 3 == 0 ? 64 : 0;  // some texts begin alike
    const std::size_t size = 20 + dice() % 180;
    for (std::size_t i = 0; i < size; ++i)
      request.prompt.push_back(static_cast<TokenId>(i < shared ? i + 1 : 1 + dice() % (kFakeVocab - 1)));
    request.sampling.seed = dice();
    request.stop.max_tokens = static_cast<std::int32_t>(2 + dice() % 6);
    return request;
  }

  void answer(Request request, Side& prefill, Side& decode, bool cancels) {
    const std::vector<TokenId> wanted = expected_output(request);
    request.phase = Phase::prefill;
    request.decode_node = decode.name;
    auto first = std::make_shared<CollectingSink>();
    std::stop_source stop;
    if (!prefill.engine->submit(request, stop.get_token(), first)) return fail();
    if (cancels) stop.request_stop();
    if (!first->wait_end(kHang)) return hang();
    if (first->error()) return first->error()->code == ErrorCode::cancelled ? cancelled() : fail();
    request.output = first->tokens();
    request.phase = Phase::decode;
    request.prefill_node = first->finish()->handoff.decode_node.empty() ? "" : prefill.name;
    auto rest = std::make_shared<Rest>();
    if (!decode.engine->submit(request, stop.get_token(), rest)) return fail();
    if (!rest->end.wait_end(kHang)) return hang();
    if (rest->end.error()) return rest->end.error()->code == ErrorCode::cancelled ? cancelled() : fail();
    if (rest->end.finish()->handoff.recomputed) ++tally_.recomputed;
    std::vector<TokenId> tokens = request.output;
    tokens.insert(tokens.end(), rest->tokens.begin(), rest->tokens.end());
    if (tokens != wanted) ++tally_.wrong;
  }

  void fail() { ++tally_.failed; }
  void hang() { ++tally_.hung; }
  void cancelled() { ++tally_.cancelled; }

  static bool at_rest(Side& side) {
    const auto rests = [&] {
      return side.engine->idle() && side.engine->stats().blocks_in_use == 0 &&
             side.transport->counters().in_flight == 0;
    };
    for (int i = 0; i < 1000 && !rests(); ++i) std::this_thread::sleep_for(10ms);
    if (rests()) return true;
    std::printf("%s is not at rest: %s, %llu blocks in use, %llu transfers in flight\n", side.name.c_str(),
                side.engine->idle() ? "idle" : "busy",
                static_cast<unsigned long long>(side.engine->stats().blocks_in_use),
                static_cast<unsigned long long>(side.transport->counters().in_flight));
    return false;
  }

  void show_progress() const {
    if (::isatty(STDERR_FILENO) == 0) return;
    const std::uint64_t done = std::min<std::uint64_t>(tally_.done, options_.transfers);
    const auto filled = static_cast<int>(done * 40 / options_.transfers);
    std::fprintf(stderr, "\r  [%.*s%*s] %llu/%llu ", filled, "########################################",
                 40 - filled, "", static_cast<unsigned long long>(done),
                 static_cast<unsigned long long>(options_.transfers));
  }

  void report(double seconds, bool clean) const {
    const EngineStats l = left_.engine->stats(), r = right_.engine->stats();
    const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf("%llu transfers over %s, seed %llu, %d in flight, deadline %d ms: %.1f s\n", n(tally_.done),
                options_.ucx ? left_.transport->link("right").c_str() : "loopback", n(options_.seed),
                options_.in_flight, options_.deadline_ms, seconds);
    std::printf(
        "  blocks received %llu, corrupt %llu, sent again %llu; handoffs given up %llu; answers recomputed "
        "%llu, cancelled %llu\n",
        n(l.blocks_received + r.blocks_received), n(l.blocks_corrupt + r.blocks_corrupt),
        n(l.blocks_resent + r.blocks_resent), n(l.transfers_failed + r.transfers_failed),
        n(tally_.recomputed), n(tally_.cancelled));
    std::printf("  wrong answers %llu, failed %llu, hung %llu, blocks left in use %llu: %s\n",
                n(tally_.wrong), n(tally_.failed), n(tally_.hung), n(l.blocks_in_use + r.blocks_in_use),
                clean && tally_.wrong + tally_.failed + tally_.hung == 0 ? "clean" : "NOT CLEAN");
  }

  const Options options_;
  std::map<std::string, Engine*> engines_;
  std::shared_ptr<LoopbackHub> hub_;
  Side left_, right_;
  Tally tally_;
  std::atomic<std::uint64_t> ids_{0};
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = arguments[i], value = arguments[i + 1];
    if (name == "--transfers")
      options.transfers = std::max(1ULL, std::strtoull(value.c_str(), nullptr, 10));
    else if (name == "--seed")
      options.seed = std::strtoull(value.c_str(), nullptr, 10);
    else if (name == "--in-flight")
      options.in_flight = std::max(1, std::atoi(value.c_str()));
    else if (name == "--deadline-ms")
      options.deadline_ms = std::max(1, std::atoi(value.c_str()));
    else if (name == "--window")
      options.window = std::max(0, std::atoi(value.c_str()));
    else if (name == "--transport" && (value == "ucx" || value == "loopback"))
      options.ucx = value == "ucx";
    else
      count = 0;  // usage
  }
  if (count % 2 == 1) return options;
  std::fprintf(stderr,
               "usage: handoff_soak [--transfers N] [--seed S] [--in-flight N] [--deadline-ms N] "
               "[--transport ucx|loopback] [--window N]\n");
  std::exit(2);
}

}  // namespace

int main(int count, char** arguments) { return Soak(parse(count, arguments)).run(); }
