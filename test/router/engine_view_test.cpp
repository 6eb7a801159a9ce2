// What the router knows of engines between their heartbeats: what it has sent there itself.
#include "router/engine_view.hpp"

#include "support/catch.hpp"

using namespace baton;

namespace {

NodeInfo node(const char* name, Role role) {
  NodeInfo info;
  info.name = name;
  info.role = role;
  info.max_context = 4096;
  return info;
}

Request prompt_of(std::size_t tokens) {
  Request request;
  request.prompt.assign(tokens, 1);
  request.stop.max_tokens = 100;
  return request;
}

}  // namespace

TEST_CASE("a request goes only to engines that have its adapter, and finds blocks of that adapter only") {
  const Hash128 one{1, 1}, two{2, 2};
  RouterOptions options;
  options.max_context = 4096;
  options.adapters = {one};
  options.hash_key = [](const std::string& salt) { return make_block_hash_key("", {}, "", salt); };
  EngineView view(options, [](const std::string&) {});
  NodeInfo both = node("both", Role::mixed), none = node("none", Role::mixed);
  both.adapters = {two, one};
  view.node_up(both, {});
  view.node_up(none, {});
  Request request = prompt_of(64);
  const auto nodes = [&](Hash128 adapter) {
    request.adapter = adapter;
    std::vector<std::string> names;
    for (const Candidate& c : view.candidates(request, {}, {})) names.push_back(c.node);
    return names;
  };
  CHECK(nodes({}) == std::vector<std::string>{"local", "both", "none"});
  CHECK(nodes(one) == std::vector<std::string>{"local", "both"});
  CHECK(nodes(two) == std::vector<std::string>{"both"});
  CHECK(nodes({3, 3}).empty());

  request.adapter = one;
  BlockEventsMessage events;
  events.sequence = 1;
  events.stored = block_hashes(request.prompt, 16, options.hash_key(block_salt(request)));
  events.snapshot = true;
  for (const BlockHash& hash : events.stored) events.digest.add(hash);
  view.apply("both", events, {}, null_logger());
  const auto held = [&](Hash128 adapter) {
    request.adapter = adapter;
    for (const Candidate& c : view.candidates(request, {}, {}))
      if (c.node == "both") return c.held_blocks;
    return std::size_t{99};
  };
  CHECK(held(one) == 4);
  CHECK(held(two) == 0);
  CHECK(held({}) == 0);
}

TEST_CASE("what is only embedded may fill an engine's context, for no answer follows") {
  RouterOptions options;
  options.max_context = 1024;
  options.hash_key = [](const std::string& salt) { return make_block_hash_key("", {}, "", salt); };
  EngineView view(options, [](const std::string&) {});
  view.node_up(node("longer", Role::mixed), {});
  const auto engines = [&](std::size_t tokens, bool embed) {
    Request request = prompt_of(tokens);
    request.embed = embed;
    request.stop.max_tokens = 1;
    return view.candidates(request, {}, {}).size();
  };
  CHECK(engines(1023, false) == 2);
  CHECK(engines(1024, false) == 1);
  CHECK(engines(1024, true) == 2);
  CHECK(engines(1025, true) == 1);
}

TEST_CASE("a burst that still waits for its prompts counts where it will generate") {
  RouterOptions options;
  options.max_context = 4096;
  options.hash_key = [](const std::string& salt) { return make_block_hash_key("", {}, "", salt); };
  EngineView view(options, [](const std::string&) {});
  EngineStats own;
  own.role = "prefill";
  StatusMessage idle;
  idle.role = Role::decode;
  idle.blocks_total = 10000;
  idle.max_batch_tokens = 512;
  idle.profile.step = 1e-3;
  idle.profile.token = 1e-5;
  idle.profile.sequence = 1e-5;
  idle.profile.kv_token = 1e-8;
  for (const char* name : {"decode-0", "decode-1", "decode-2"}) {
    view.node_up(node(name, Role::decode), {});
    view.status(name, idle);
  }
  const auto policy = make_policy("kv");
  const Request request = prompt_of(1000);
  EngineView::SentByNode sent;
  std::map<std::string, int> chosen;
  for (int i = 0; i < 30; ++i) {  // no status comes meanwhile: all of them are with the prefill engine
    const auto route = policy->choose(view.query(request), view.candidates(request, own, sent));
    REQUIRE(route);
    CHECK(route->prefill_node == "local");
    ++chosen[route->decode_node];
    ++sent["local"].running;
    ++sent[route->decode_node].coming;
    sent[route->decode_node].coming_tokens += request.prompt.size();
  }
  CHECK(chosen == std::map<std::string, int>{{"decode-0", 10}, {"decode-1", 10}, {"decode-2", 10}});
}
