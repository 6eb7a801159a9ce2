#include "app/child_process.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "app/signals.hpp"

namespace baton {
namespace {

// Between fork and exec only what a signal handler may call, too (signal-safety(7)): other threads may have
// held any lock.
[[noreturn]] void become(char* const* arguments, pid_t parent, const sigset_t& mask) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kCannotExecute);  // it died before the kernel knew
  ::setpgid(0, 0);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::execv("/proc/self/exe", arguments);
  ::_exit(kCannotExecute);
}

}  // namespace

Result<pid_t> start_child(const std::vector<std::string>& arguments) {
  std::vector<std::string> texts{"baton"};
  texts.insert(texts.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers(texts.size() + 1, nullptr);  // a null ends them
  std::ranges::transform(texts, pointers.begin(), [](std::string& text) { return text.data(); });
  const sigset_t mask = signal_set({SIGTERM, SIGINT, SIGHUP});
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(pointers.data(), parent, mask);
  if (pid < 0)
    return make_error(ErrorCode::io, std::string("cannot start a process: ") + std::strerror(errno));
  return pid;
}

std::string to_string(const ChildEnd& end) {
  if (end.signal == 0) return "exit status " + std::to_string(end.status);
  const char* name = ::sigdescr_np(end.signal);
  return "signal " + std::to_string(end.signal) + " (" + (name == nullptr ? "?" : name) + ")";
}

std::optional<ChildEnd> child_end(pid_t pid) {
  int status = 0;
  if (::waitpid(pid, &status, WNOHANG) != pid) return std::nullopt;
  if (WIFSIGNALED(status)) return ChildEnd{0, WTERMSIG(status)};
  return ChildEnd{WEXITSTATUS(status), 0};
}

}  // namespace baton
