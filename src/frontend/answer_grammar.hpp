// The grammar that binds a request's answers: the format that it asks for, or the tool calls that it forces.
#pragma once

#include <string>

#include "frontend/answer_reader.hpp"
#include "frontend/openai/chat_request.hpp"
#include "frontend/prepare.hpp"

namespace baton::frontend {

// Compiles what the request asks for into `out`; nothing where it asks for nothing. Errors name the client's
// field. Forced calls go before a format: they are what the answer is.
Result<void> bind_chat(const ChatRequest& request, const FrontendServices& services, PreparedRequest& out);
Result<void> bind_completion(const FrontendServices& services, PreparedRequest& out);

}  // namespace baton::frontend
