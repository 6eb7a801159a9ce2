// The endpoints that answer with one plain reply: models, health, version, metrics, cluster, tokenize.
#pragma once

#include <string>

#include "baton/frontend/server.hpp"
#include "frontend/engine_metrics.hpp"
#include "frontend/http_message.hpp"
#include "frontend/routes.hpp"

namespace baton::frontend {

// Whether the answer may take a while (text pool) or not (right on the io thread).
bool is_slow(Endpoint endpoint);

// For every endpoint but those that ask the engines. Thread-safe.
HttpReply answer(const Route& route, const std::string& body, const std::string& tenant,
                 const FrontendServices& services, EngineMetrics& engine_metrics);
HttpReply route_failure(const Route& route, const std::string& method, const std::string& target);

}  // namespace baton::frontend
