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
