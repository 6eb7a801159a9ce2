#include "app/bench_load.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "app/http_client.hpp"
#include "baton/bench/arrivals.hpp"
#include "baton/sim/trace.hpp"
#include "baton/text/tokenizer.hpp"

namespace baton::bench {
namespace {

constexpr std::size_t kPool = 1000;  // prompts of a load that is bounded by time alone

Error bad(const std::string& what, const std::string& flag) {
  return make_error(ErrorCode::invalid_argument, flag + ": " + what, flag);
}

// "ignore_eos:true", as AIPerf has it, or a JSON object.
Result<void> add_extra(const std::string& text, nlohmann::json& extra) {
  if (text.starts_with('{')) {
    const auto object = nlohmann::json::parse(text, nullptr, false);
    if (!object.is_object()) return bad("'" + text + "' is not a JSON object", "--extra-inputs");
    extra.update(object);
    return {};
  }
  const std::size_t colon = text.find(':');
  if (colon == 0 || colon == text.npos) return bad("'" + text + "' is not name:value", "--extra-inputs");
  const std::string value = text.substr(colon + 1);
  auto parsed = nlohmann::json::parse(value, nullptr, false);
  extra[text.substr(0, colon)] = parsed.is_discarded() ? nlohmann::json(value) : parsed;
  return {};
}

Result<std::string> first_model(const BenchOptions& options) {
  const auto text = http_call({.url = options.base_url() + "/v1/models", .api_key = options.api_key});
  if (!text) return text.error();
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  const auto data = json.is_object() ? json.find("data") : json.end();
  if (json.is_object() && data != json.end() && data->is_array() && !data->empty() &&
      data->front().contains("id") && data->front()["id"].is_string())
    return data->front()["id"].get<std::string>();
  return bad("the server lists no model at /v1/models: name one", "--model");
}

// A local tokenizer, or the server's own through /tokenize (Baton's and vLLM's).
Result<CountTokens> token_counter(const BenchOptions& options, const std::string& model) {
  if (!options.tokenizer.empty()) {
    auto loaded = load_tokenizer(options.tokenizer);
    if (!loaded) return bad(loaded.error().message, "--tokenizer");
    const std::shared_ptr<const Tokenizer> tokenizer = *std::move(loaded);
    return CountTokens([tokenizer](std::string_view text) -> Result<std::size_t> {
      return tokenizer->encode(text, {.add_special_tokens = false}).size();
    });
  }
  const auto ask = [options, model](std::string_view text) -> Result<std::size_t> {
    const nlohmann::json body{{"model", model}, {"prompt", text}, {"add_special_tokens", false}};
    const auto answer = http_call({.url = options.base_url() + "/tokenize",
                                   .method = "POST",
                                   .body = body.dump(),
                                   .api_key = options.api_key});
    if (!answer) return answer.error();
    const auto json = nlohmann::json::parse(*answer, nullptr, false);
    if (!json.is_object() || !json.contains("count") || !json["count"].is_number_unsigned())
      return make_error(ErrorCode::unsupported, "/tokenize answers without a count");
    return json["count"].get<std::size_t>();
  };
  if (const auto works = ask("the"); !works)
    return bad(
        "the server has no /tokenize (" + works.error().message + "): give a directory with tokenizer.json",
        "--tokenizer");
  return CountTokens(ask);
}

Result<std::vector<Conversation>> from_file(const BenchOptions& options, PromptMaker& maker,
                                            const std::function<void(std::size_t, std::size_t)>& progress) {
  std::ifstream in(options.input_file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in) return bad("cannot read " + options.input_file, "--input-file");
  const std::string content = text.str();
  const bool own =
      options.input_type == "requests" ||
      (options.input_type == "auto" && content.starts_with('{') && content.find("hash_ids") == content.npos);
  if (own) return parse_requests(content, options.input_file, maker);
  auto trace = parse_trace(content, options.input_file);
  if (!trace) return trace.error();
  if (options.requests > 0 && trace->size() > static_cast<std::size_t>(options.requests))
    trace->resize(static_cast<std::size_t>(options.requests));
  if (kTraceChunk % options.shrink != 0) return bad("512 is no multiple of it", "--shrink");
  shrink_trace(*trace, options.shrink);
  return trace_conversations(maker, *trace, progress);
}

}  // namespace

std::string BenchOptions::base_url() const {
  std::string base = url.find("://") == url.npos ? "http://" + url : url;
  if (const std::size_t slash = base.find('/', base.find("://") + 3); slash != base.npos) base.resize(slash);
  return base;
}

std::vector<ConfigRow> bench_rows(BenchOptions& o) {
  constexpr std::int64_t kMany = 1 << 30;
  return {
      string_row({"--url", "", "URL", "the server: http://HOST:PORT or https://HOST:PORT"}, o.url),
      string_row({"--model", "", "NAME", "the model's name there; default: the first that it lists"},
                 o.model),
      choice_row({"--endpoint-type", "", "chat|completions", "/v1/chat/completions or /v1/completions"},
                 {"chat", "completions"}, o.endpoint),
      choice_row({"--streaming", "", "on|off", "off: whole answers, which have no TTFT of their own"},
                 {"on", "off"}, o.streaming),
      string_row({"--api-key", "", "KEY", "of the server; default: the environment's BATON_API_KEY"},
                 o.api_key),
      string_row({"--ca-file", "", "FILE", "issuer of the server's certificate; default: the system's"},
                 o.ca_file),
      string_row(
          {"--tokenizer", "", "DIR", "a directory with tokenizer.json; default: the server's /tokenize"},
          o.tokenizer),
      number_row(
          {"--request-rate", "", "X", "requests/s that do not wait for answers; 0: as --concurrency has it"},
          0, 1e6, o.rate),
      choice_row({"--arrival-pattern", "", "NAME", "of --request-rate: poisson, constant or gamma"},
                 {"poisson", "constant", "gamma"}, o.pattern),
      number_row(
          {"--arrival-smoothness", "", "X", "of gamma: 1 is Poisson, more is steadier, less comes in bursts"},
          1e-3, 1e6, o.smoothness),
      duration_row({"--ramp", "", "TIME", "until the load has grown to its full size"}, Duration(0), o.ramp),
      int_row(
          {"--request-count", "", "N",
           "requests (conversations) in all; 0: 10 for each of --concurrency, or until --benchmark-duration"},
          0, kMany, o.requests),
      duration_row({"--benchmark-duration", "", "TIME", "after which nothing new begins; 0s: no limit"},
                   Duration(0), o.duration),
      duration_row({"--grace-period", "", "TIME", "for what still runs then"}, Duration(0), o.grace),
      int_row({"--warmup-request-count", "", "N", "requests before, which do not count"}, 0, kMany,
              o.warm_up),
      number_row({"--isl", "", "N", "tokens of a prompt, exactly"}, 1, 1e7, o.isl),
      number_row({"--isl-stddev", "", "X", "their standard deviation"}, 0, 1e7, o.isl_stddev),
      number_row({"--osl", "", "N",
                  "max_tokens of an answer; 0: the server's. --extra-inputs ignore_eos:true makes it exact"},
                 0, 1e7, o.osl),
      number_row({"--osl-stddev", "", "X", "its standard deviation"}, 0, 1e7, o.osl_stddev),
      int_row({"--num-prefix-prompts", "", "N", "beginnings that prompts share; 0: none"}, 0, 100000,
              o.prefixes),
      int_row({"--prefix-prompt-length", "", "N", "tokens of each, on top of --isl"}, 0, 1 << 24,
              o.prefix_length),
      int_row({"--num-dataset-entries", "", "N",
               "different prompts, used again in turn; 0: one for each request"},
              0, kMany, o.conversations),
      number_row({"--conversation-turn-mean", "", "X", "turns of a conversation"}, 1, 1000, o.turns),
      number_row({"--conversation-turn-stddev", "", "X", "their standard deviation"}, 0, 1000,
                 o.turns_stddev),
      number_row({"--conversation-turn-delay-mean", "", "MS", "from an answer to the next turn"}, 0, 1e9,
                 o.turn_delay),
      number_row({"--conversation-turn-delay-stddev", "", "MS", "its standard deviation"}, 0, 1e9,
                 o.turn_delay_stddev),
      string_row(
          {"--input-file", "", "FILE",
           "requests at their own times: Mooncake JSONL, Azure CSV, or lines of "
           "{\"timestamp\": ms, \"text\" or \"input_length\", \"output_length\", \"session_id\", \"delay\"}"},
          o.input_file),
      choice_row({"--input-type", "", "auto|trace|requests", "what --input-file is"},
                 {"auto", "trace", "requests"}, o.input_type),
      number_row({"--speed", "", "X", "--input-file's times pass X times as fast"}, 1e-6, 1e6, o.speed),
      int_row({"--shrink", "", "N", "divide all lengths of a trace by N, a power of two"}, 1, 512, o.shrink),
      number_row({"--request-cancellation-rate", "", "PERCENT", "of requests that the client gives up"}, 0,
                 100, o.cancel),
      duration_row({"--request-cancellation-delay", "", "TIME", "after their send"}, Duration(0),
                   o.cancel_after),
      duration_row({"--request-timeout", "", "TIME", "longest time for one request"},
                   std::chrono::milliseconds(1), o.timeout),
      list_row(
          {"--extra-inputs", "", "NAME:VALUE", "added to every request, or a JSON object; may be repeated"},
          o.extra),
      int_row({"--random-seed", "", "N", "the same seed, the same prompts and times"}, 0, kMany, o.seed)};
}

Result<Prepared> prepare(const BenchOptions& options,
                         const std::function<void(std::size_t, std::size_t)>& progress) {
  auto target = parse_target(options.url);
  if (!target) return target.error();
  Prepared prepared{*std::move(target), {}};
  Target& t = prepared.target;
  t.api_key = api_key_or_environment(options.api_key);
  t.ca_file = options.ca_file;
  t.chat = options.endpoint == "chat";
  t.streaming = options.streaming == "on";
  t.path = t.chat ? "/v1/chat/completions" : "/v1/completions";
  for (const std::string& text : options.extra)
    if (auto added = add_extra(text, t.extra); !added) return added.error();
  BenchOptions with_key = options;
  with_key.api_key = t.api_key;
  t.model = options.model;
  if (t.model.empty()) {
    auto model = first_model(with_key);
    if (!model) return model.error();
    t.model = *std::move(model);
  }
  auto counter = token_counter(with_key, t.model);
  if (!counter) return counter.error();
  auto maker = PromptMaker::make(*std::move(counter), static_cast<std::uint64_t>(options.seed));
  if (!maker) return maker.error();
  Result<std::vector<Conversation>> made = std::vector<Conversation>{};
  if (!options.input_file.empty()) {
    made = from_file(options, *maker, progress);
  } else {
    PromptOptions prompts;
    const auto wanted = static_cast<std::size_t>(options.requests > 0 ? options.requests : 0);
    prompts.conversations = options.conversations > 0 ? static_cast<std::size_t>(options.conversations)
                            : wanted > 0              ? static_cast<std::size_t>(options.runs) *
                                               (wanted + static_cast<std::size_t>(options.warm_up))
                                         : kPool;
    prompts.input_mean = options.isl, prompts.input_stddev = options.isl_stddev;
    prompts.output_mean = options.osl, prompts.output_stddev = options.osl_stddev;
    prompts.prefixes = static_cast<std::size_t>(options.prefixes);
    prompts.prefix_length = static_cast<std::size_t>(options.prefix_length);
    prompts.turns_mean = options.turns, prompts.turns_stddev = options.turns_stddev;
    prompts.delay_mean = options.turn_delay / 1e3, prompts.delay_stddev = options.turn_delay_stddev / 1e3;
    prompts.seed = static_cast<std::uint64_t>(options.seed);
    made = make_conversations(*maker, prompts, progress);
  }
  if (!made) return made.error();
  prepared.conversations = *std::move(made);
  return prepared;
}

Result<RunResult> run_prepared(const Prepared& prepared, const BenchOptions& options, int concurrency,
                               int turn, const std::function<void(const Progress&, std::size_t)>& shown) {
  LoadOptions load;
  load.timeout = to_seconds(options.timeout);
  load.grace = to_seconds(options.grace);
  load.cancel_share = options.cancel / 100;
  load.cancel_after = to_seconds(options.cancel_after);
  load.seed = static_cast<std::uint64_t>(options.seed);
  std::vector<Conversation> conversations = prepared.conversations;
  const auto skip = [&](std::size_t count) {
    const auto first = conversations.begin() + static_cast<std::ptrdiff_t>(count % conversations.size());
    std::rotate(conversations.begin(), first, conversations.end());
  };
  const auto each = static_cast<std::size_t>(options.requests) + static_cast<std::size_t>(options.warm_up);
  skip(static_cast<std::size_t>(turn) * each);
  if (options.warm_up > 0) {
    LoadOptions before = load;
    before.warm_up = true;
    before.concurrency = std::max(1, concurrency);
    before.conversations = static_cast<std::size_t>(options.warm_up);
    before.cancel_share = 0;
    const auto warmed = run_load(prepared.target, conversations, before);
    if (!warmed) return warmed.error();
    // What the warm-up sent is in the server's prefix cache: the load begins behind it.
    skip(static_cast<std::size_t>(options.warm_up));
  }
  load.concurrency = concurrency;
  load.duration = to_seconds(options.duration);
  load.conversations = options.requests > 0          ? static_cast<std::size_t>(options.requests)
                       : !options.input_file.empty() ? conversations.size()
                       : load.duration > 0           ? std::numeric_limits<std::size_t>::max()
                                           : static_cast<std::size_t>(10 * std::max(1, concurrency));
  const std::size_t total =
      load.conversations == std::numeric_limits<std::size_t>::max() ? 0 : load.conversations;
  if (!options.input_file.empty()) {
    for (const Conversation& conversation : conversations)
      load.arrivals.push_back(conversation.at / options.speed);
    if (load.arrivals.size() > load.conversations) load.arrivals.resize(load.conversations);
  } else if (options.rate > 0) {
    ArrivalOptions arrivals;
    arrivals.pattern = options.pattern == "poisson"    ? ArrivalPattern::poisson
                       : options.pattern == "constant" ? ArrivalPattern::constant
                                                       : ArrivalPattern::gamma;
    arrivals.rate = options.rate;
    arrivals.smoothness = options.smoothness;
    arrivals.ramp = to_seconds(options.ramp);
    arrivals.seed = load.seed;
    const double horizon = load.duration > 0 ? load.duration : std::numeric_limits<double>::infinity();
    load.arrivals = arrival_times(arrivals, load.conversations, horizon);
    load.conversations = load.arrivals.size();
  } else {
    load.ramp = to_seconds(options.ramp);
  }
  return run_load(prepared.target, conversations, load, [&](const Progress& p) {
    if (shown) shown(p, total);
  });
}

}  // namespace baton::bench
