// The pauses between a daemon's runs; processes are tested by test/e2e/test_devices.py.
#include "app/supervisor.hpp"

#include "app/child_process.hpp"
#include "support/catch.hpp"

namespace baton::test {

using namespace std::chrono_literals;

TEST_CASE("a daemon that dies again and again is left alone for longer and longer, until it has run") {
  RestartPause pause;
  for (const auto expected : {1s, 2s, 4s, 8s, 16s, 30s, 30s}) CHECK(pause.next(59s) == expected);
  CHECK(pause.next(60s) == 1s);
  CHECK(pause.next(0s) == 2s);
}

TEST_CASE("only a daemon that says so itself cannot serve") {
  CHECK(cannot_serve(1));
  CHECK(cannot_serve(2));
  CHECK(cannot_serve(kCannotExecute));
  CHECK_FALSE(cannot_serve(0));
  CHECK_FALSE(cannot_serve(3));    // its device failed
  CHECK_FALSE(cannot_serve(70));   // a bug
  CHECK_FALSE(cannot_serve(130));  // somebody stopped it
}

TEST_CASE("how a process ended, in words") {
  CHECK(to_string(ChildEnd{1, 0}) == "exit status 1");
  CHECK(to_string(ChildEnd{0, 9}) == "signal 9 (Killed)");
  CHECK(to_string(ChildEnd{0, 200}) == "signal 200 (?)");
}

}  // namespace baton::test
