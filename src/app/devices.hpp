// `baton serve --devices`: what the daemon of each device is told. A daemon has one engine, so a machine with
// several GPUs runs several (docs/decisions/0013); here one set of options becomes those of each.
#pragma once

#include <string>
#include <vector>

#include "app/serve_options.hpp"
#include "baton/base/result.hpp"

namespace baton {

// "all" becomes the GPUs of this machine, as "0,1,2"; anything else stays. Asks the driver.
Result<std::string> devices_here(const std::string& devices);

// One for each of `options.devices`, in that order, or for each --tensor-parallel of them, which must be GPUs
// that follow each other, or all the CPU; their own `devices` are empty, and check() passes.
//
// The i-th listens on the ports that are given plus i, is named after the node with "-i" behind it, and dials
// all others besides the peers that are given. What is counted from the whole machine is divided: shares of
// its memory, and its cores among CPU engines. `cores`: of this machine. Errors name the flag.
Result<std::vector<ServeOptions>> options_for_devices(const ServeOptions& options, unsigned cores);

}  // namespace baton
