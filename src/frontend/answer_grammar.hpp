// The grammar that binds a request's answers: the format that it asks for, or the tool calls that it forces.
// Writing and compiling one may take a second, so this runs on a pool of its own.
#pragma once

#include "frontend/prepare.hpp"

namespace baton::frontend {

// Writes and compiles what binds the answers of `request` into it: where bound_by says that something does.
// Errors name the client's field.
Result<void> bind_answer(const FrontendServices& services, PreparedRequest& request);

// What an engine says about the grammar, which no client has sent, is about the field that it stands for.
Error in_clients_words(Error error, const PreparedRequest& request);

}  // namespace baton::frontend
