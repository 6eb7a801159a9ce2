// Where this daemon finds the others, and what it tells them: --peer, --dns and --etcd as one Membership.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "app/serve_options.hpp"
#include "baton/base/log.hpp"
#include "baton/cluster/membership.hpp"

namespace baton {

// All sources that the options name; empty where they name none. Nothing is asked before watch(). An error
// names the flag.
Result<std::unique_ptr<Membership>> make_membership(const ServeOptions& options, Logger& logger);

// What others dial: --advertise, else --peer-listen with the port that was bound. invalid_argument where that
// is an address of this machine to itself only, such as 0.0.0.0.
Result<std::string> advertised_address(const ServeOptions& options, std::uint16_t bound_port);

}  // namespace baton
