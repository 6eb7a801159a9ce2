// Host names to endpoints without blocking the io thread, and without ever blocking the end of the program.
//
// Asio's own resolver joins its thread in the io_context's destructor, so a name server that does not answer
// would hold up stop(). Here each lookup has a thread that is left to itself when nobody waits any more.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/result.hpp"
#include "baton/peer/address.hpp"

namespace baton::peer {

// At least one endpoint, or unavailable (no such host; no answer within `timeout`). Literal addresses need no
// lookup. Must run on an io_context.
boost::asio::awaitable<Result<std::vector<boost::asio::ip::tcp::endpoint>>> resolve(HostPort address,
                                                                                    Duration timeout);
// The same, blocking: for the listener, before there is anything to block.
Result<std::vector<boost::asio::ip::tcp::endpoint>> resolve_now(const HostPort& address);

}  // namespace baton::peer
