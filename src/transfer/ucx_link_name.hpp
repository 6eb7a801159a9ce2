// The transport that carries an endpoint's bulk bytes ("tcp", "rc_mlx5", "posix"), or "" while UCX does not
// say.
#pragma once

#include <ucp/api/ucp.h>

#include <string>
#include <string_view>

namespace baton::transfer {

std::string ucx_link_name(ucp_ep_h ep);
// Of ucp_ep_print_info's text, the only place where UCX 1.13 tells.
std::string link_name_of(std::string_view endpoint_info);

}  // namespace baton::transfer
