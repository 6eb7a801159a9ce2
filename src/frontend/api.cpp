#include "frontend/api.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "frontend/errors.hpp"
#include "frontend/http_writer.hpp"
#include "frontend/prepare.hpp"

namespace baton::frontend {
namespace {

HttpReply json_reply(const Json& body, int status = 200) {
  HttpReply reply;
  reply.status = status;
  reply.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return reply;
}

// An adapter's parent is the model that it adds to.
Json model_json(const ServedModel& model, const std::string& name, bool adapter) {
  Json shown = {{"id", name},
                {"object", "model"},
                {"created", model.created},
                {"owned_by", "baton"},
                {"root", adapter ? name : model.names.front()},
                {"parent", nullptr},
                {"max_model_len", model.context}};
  if (adapter) shown["parent"] = model.names.front();
  return shown;
}

HttpReply answer_models(const ServedModel& model) {
  Json list = Json::array();
  for (const std::string& name : model.names) list.push_back(model_json(model, name, false));
  for (const AdapterInfo& adapter : model.adapters) list.push_back(model_json(model, adapter.name, true));
  return json_reply({{"object", "list"}, {"data", std::move(list)}});
}

HttpReply answer_model(const ServedModel& model, const std::string& name) {
  if (std::ranges::find(model.names, name) != model.names.end())
    return json_reply(model_json(model, name, false));
  if (std::ranges::find(model.adapters, name, &AdapterInfo::name) != model.adapters.end())
    return json_reply(model_json(model, name, true));
  return error_reply(api_error(
      make_error(ErrorCode::not_found,
                 "The model '" + name.substr(0, 200) + "' does not exist: see GET /v1/models.", "model")));
}

// A device that has failed needs a new process: who keeps this one alive shall know.
HttpReply answer_live(const FrontendServices& services) {
  if (!services.engine_stats || !services.engine_stats().device_failed) return json_reply({{"status", "ok"}});
  return json_reply({{"status", "the engine's device has failed"}}, 503);
}

HttpReply answer_ready(const FrontendServices& services) {
  const bool ready = !services.ready || services.ready();
  HttpReply reply = json_reply({{"status", ready ? "ready" : "not ready"}}, ready ? 200 : 503);
  if (!ready) reply.headers.emplace_back("retry-after", "1");
  return reply;
}

HttpReply answer_metrics(const FrontendServices& services, EngineMetrics& engine_metrics) {
  if (services.engine_stats) engine_metrics.update(services.engine_stats());
  HttpReply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  if (services.metrics_text) reply.body = services.metrics_text();
  return reply;
}

HttpReply answer_cluster(const FrontendServices& services) {
  // The callback's type is nlohmann::json, whose text is the same.
  HttpReply reply;
  reply.body = services.cluster
                   ? services.cluster().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                   : std::string("{}");
  return reply;
}

}  // namespace

bool is_slow(Endpoint endpoint) {
  return endpoint == Endpoint::tokenize || endpoint == Endpoint::detokenize ||
         endpoint == Endpoint::metrics || endpoint == Endpoint::cluster || endpoint == Endpoint::explain ||
         endpoint == Endpoint::role;
}

HttpReply answer(const Route& route, const std::string& body, const std::string& tenant,
                 const FrontendServices& services, EngineMetrics& engine_metrics) {
  switch (route.endpoint) {
    case Endpoint::models:
      return answer_models(services.model);
    case Endpoint::model:
      return answer_model(services.model, route.argument);
    case Endpoint::tokenize:
      return answer_tokenize(body, services);
    case Endpoint::detokenize:
      return answer_detokenize(body, services);
    case Endpoint::health:
      return json_reply({{"status", "ok"}});
    case Endpoint::live:
      return answer_live(services);
    case Endpoint::ready:
      return answer_ready(services);
    case Endpoint::version:
      return json_reply({{"version", BATON_VERSION}});
    case Endpoint::metrics:
      return answer_metrics(services, engine_metrics);
    case Endpoint::cluster:
      return answer_cluster(services);
    case Endpoint::explain:
      return answer_explain(body, tenant, services);
    case Endpoint::role:
      return answer_role(route.argument, body, services);
    case Endpoint::chat_completions:
    case Endpoint::completions:
    case Endpoint::embeddings:
      break;  // a RunningAnswer's
  }
  return error_reply(http_error(404, "There is no such endpoint."));
}

HttpReply route_failure(const Route& route, const std::string& method, const std::string& target) {
  const std::string asked = method.substr(0, 32) + " " + target.substr(0, 200);
  if (route.status == 405) {
    HttpReply reply = error_reply(
        http_error(405, "Method not allowed: " + asked + ". Allowed: " + std::string(route.allow) + "."));
    reply.headers.emplace_back("allow", std::string(route.allow));
    return reply;
  }
  return error_reply(http_error(route.status, "Unknown request URL: " + asked + ". See docs/api.md."));
}

}  // namespace baton::frontend
