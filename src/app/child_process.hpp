// This program once more, as a child that cannot outlive us.
//
// The kernel kills it when the thread that started it ends: start it from the main thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "baton/base/result.hpp"

namespace baton {

constexpr int kCannotExecute = 127;  // a child's exit status, as a shell's

// With these arguments behind the program's name. It is the same binary even where another one has taken its
// place on disk. SIGTERM, SIGINT and SIGHUP are blocked in it, so that none is lost before it waits for them;
// a terminal's Ctrl-C does not reach it (it is a process group of its own).
Result<pid_t> start_child(const std::vector<std::string>& arguments);

// How a child ended.
struct ChildEnd {
  int status = 0;  // exit status
  int signal = 0;  // that killed it; 0: it exited
};
std::string to_string(const ChildEnd& end);  // "exit status 1", "signal 9 (Killed)"

// Nothing while it runs. Does not wait.
std::optional<ChildEnd> child_end(pid_t pid);

}  // namespace baton
