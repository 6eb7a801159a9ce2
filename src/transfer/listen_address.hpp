// Where UCX listens, given where we were told to.
//
// UCX's tcp transport has one address for each interface: the first of its family, and never ::1 before UCX
// 1.14. Peers connect back to the address that a connection came from, with that transport's port: where the
// two differ, nothing is ever connected. Where they differ in family, it is worse: UCX 1.13 keeps room for an
// address of its interface's family, writes 28 bytes of an IPv6 one into 16, and the process aborts later.
// Invariant: the listener, what is dialed, and UCX's interface are of one family.
#pragma once

#include <set>
#include <span>
#include <string>

#include "ucx_address.hpp"

namespace baton::transfer {

// Whether this is the address that UCX takes of its interface, among `all` in the kernel's order.
bool is_of_ucx(const Interface& interface, std::span<const Interface> all);

// `wanted` where UCX can use it. Else another address of the same interface: 127.0.0.1 for ::1, its first one
// for a later one. For "" any address, IPv6 where there is no other. invalid_argument where nothing will do.
Result<IpAddress> choose_listen_address(const std::string& wanted, std::span<const Interface> ours);

// That the sockets of UCX's tcp transport are where `listen` says: whatever UCX's version and settings.
Result<void> check_tcp_sockets(const std::set<int>& sockets, const IpAddress& listen);

}  // namespace baton::transfer
