#include "app/supervisor.hpp"

#include <algorithm>
#include <csignal>
#include <span>
#include <utility>

#include "app/child_process.hpp"
#include "app/signals.hpp"

namespace baton {
namespace {

constexpr Duration kLongestPause = std::chrono::seconds(30);
constexpr Duration kLongRun = std::chrono::minutes(1);
constexpr Duration kGrace = std::chrono::seconds(5);       // beyond the drain, for the end of a process
constexpr Duration kFirstGrace = std::chrono::seconds(1);  // of the one that drains before the others
constexpr Duration kIdle = std::chrono::hours(1);          // no timer runs

class Supervisor {
 public:
  Supervisor(const std::vector<SupervisedDaemon>& daemons, const Clock& clock, Logger& logger)
      : clock_(clock), logger_(logger) {
    for (const SupervisedDaemon& daemon : daemons) children_.push_back({&daemon});
  }

  int run(Duration drain_timeout);

 private:
  struct Child {
    const SupervisedDaemon* daemon = nullptr;
    pid_t pid = 0;      // 0: it does not run
    TimePoint since{};  // of this run, or of when it shall run again
    bool first = true;
    RestartPause pause = {};
  };
  using Children = std::span<Child>;

  void start(Child& child);
  void ended(Child& child, const ChildEnd& end);
  void collect();
  void start_those_due();
  int wait_for_signal(Duration at_most);
  int stop(Duration drain_timeout);
  bool drain(Children children, TimePoint give_up);  // false: a second signal came
  void kill_all();
  static void signal(Children children, int number);
  static bool any_runs(Children children);

  const Clock& clock_;
  Logger& logger_;
  std::vector<Child> children_;
  bool stopping_ = false;
  int failed_ = 0;  // exit status of what makes us give up
};

void Supervisor::start(Child& child) {
  child.since = clock_.now();
  const auto pid = start_child(child.daemon->arguments);
  if (!pid) {
    logger_.error(pid.error().message, {{"device", child.daemon->device}, {"port", child.daemon->port}});
    child.since += child.pause.next({});
    return;
  }
  child.pid = *pid;
  logger_.info("engine started",
               {{"device", child.daemon->device}, {"port", child.daemon->port}, {"pid", *pid}});
}

void Supervisor::ended(Child& child, const ChildEnd& end) {
  const pid_t pid = std::exchange(child.pid, 0);
  const bool first = std::exchange(child.first, false);
  const auto& [device, port, arguments] = *child.daemon;
  if (stopping_) {
    const bool well = end.signal == 0 && end.status == 0;
    logger_.log(well ? LogLevel::info : LogLevel::error, "engine stopped",
                {{"device", device}, {"port", port}, {"pid", pid}, {"how", to_string(end)}});
    if (!well && failed_ == 0) failed_ = 1;
    return;
  }
  if (first && end.signal == 0 && cannot_serve(end.status)) {
    logger_.error("engine cannot serve: all stop",
                  {{"device", device}, {"port", port}, {"pid", pid}, {"how", to_string(end)}});
    failed_ = end.status;
    return;
  }
  const Duration pause = child.pause.next(clock_.now() - child.since);
  child.since = clock_.now() + pause;
  logger_.error("engine died: it is started again", {{"device", device},
                                                     {"port", port},
                                                     {"pid", pid},
                                                     {"how", to_string(end)},
                                                     {"in_seconds", to_seconds(pause)}});
}

void Supervisor::collect() {
  for (Child& child : children_) {
    if (child.pid == 0) continue;
    if (const auto end = child_end(child.pid)) ended(child, *end);
  }
}

void Supervisor::start_those_due() {
  for (Child& child : children_)
    if (child.pid == 0 && child.since <= clock_.now()) start(child);
}

// SIGCHLD may stand for several children, so each is asked whatever came.
int Supervisor::wait_for_signal(Duration at_most) {
  const int number = wait_signal(signal_set({SIGTERM, SIGINT, SIGHUP, SIGCHLD}), at_most);
  collect();
  return number;
}

int Supervisor::run(Duration drain_timeout) {
  for (Child& child : children_) start(child);
  while (failed_ == 0) {
    Duration wait = kIdle;
    for (const Child& child : children_)
      if (child.pid == 0) wait = std::min(wait, child.since - clock_.now());
    const int number = wait_for_signal(wait);
    if (number == SIGTERM || number == SIGINT) break;
    if (number == SIGHUP) signal(children_, SIGHUP);
    if (failed_ == 0) start_those_due();
  }
  return stop(drain_timeout);
}

int Supervisor::stop(Duration drain_timeout) {
  stopping_ = true;
  logger_.info("stopping the engines; a second signal exits at once");
  const TimePoint drained = clock_.now() + drain_timeout;
  const Children all(children_);
  if (!drain(all.first(1), drained + kFirstGrace) || !drain(all, drained + kGrace)) {
    kill_all();
    return kStoppedAtOnce;
  }
  if (any_runs(all)) {
    logger_.warn("the drain timeout is over: killing what is left");
    kill_all();
  }
  return failed_;
}

bool Supervisor::drain(Children children, TimePoint give_up) {
  signal(children, SIGTERM);
  while (any_runs(children) && clock_.now() < give_up) {
    const int number = wait_for_signal(give_up - clock_.now());
    if (number == SIGTERM || number == SIGINT) return false;
  }
  return true;
}

void Supervisor::kill_all() {
  signal(children_, SIGKILL);
  const TimePoint give_up = clock_.now() + kGrace;  // one that hangs in a driver is the kernel's
  while (any_runs(children_) && clock_.now() < give_up) wait_for_signal(give_up - clock_.now());
}

void Supervisor::signal(Children children, int number) {
  for (const Child& child : children)
    if (child.pid != 0) ::kill(child.pid, number);
}

bool Supervisor::any_runs(Children children) {
  return std::ranges::any_of(children, [](const Child& child) { return child.pid != 0; });
}

}  // namespace

Duration RestartPause::next(Duration ran) {
  if (ran >= kLongRun) *this = {};
  return std::exchange(pause_, std::min(2 * pause_, kLongestPause));
}

bool cannot_serve(int exit_status) {
  return exit_status == 1 || exit_status == 2 || exit_status == kCannotExecute;
}

int supervise(const std::vector<SupervisedDaemon>& daemons, Duration drain_timeout, const Clock& clock,
              Logger& logger) {
  std::signal(SIGCHLD,
              SIG_DFL);  // whoever started us may have it ignored, and then nobody could be waited for
  std::signal(SIGPIPE, SIG_IGN);  // whoever reads our log may go away
  block_signals(signal_set({SIGTERM, SIGINT, SIGHUP, SIGCHLD}));
  return Supervisor(daemons, clock, logger).run(drain_timeout);
}

}  // namespace baton
