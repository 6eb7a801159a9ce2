// The few macros of Catch2 that the contract suites use, for machines that have a GPU and no Catch2: the same
// test files compile against either (support/catch.hpp chooses). Tests register themselves; run_bare_tests()
// runs them.
#pragma once

#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace baton::test::bare {

struct Test {
  const char* name;
  void (*body)();
};
inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
struct Registrar {
  Registrar(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
inline std::vector<std::string>& notes() {
  static std::vector<std::string> open;
  return open;
}
struct Note {
  explicit Note(std::string text) { notes().push_back(std::move(text)); }
  ~Note() { notes().pop_back(); }
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;
};
inline int& failures() {
  static int count = 0;
  return count;
}
inline void report(const char* file, int line, const std::string& what) {
  ++failures();
  std::printf("  %s:%d: %s\n", file, line, what.c_str());
  for (const std::string& note : notes()) std::printf("    with %s\n", note.c_str());
}
inline void check(bool holds, const char* text, const char* file, int line, bool fatal) {
  if (holds) return;
  report(file, line, text);
  if (fatal) throw Failure(text);
}

class Approx {
 public:
  explicit Approx(double value) : value_(value) {}
  Approx epsilon(double e) const {
    Approx changed = *this;
    changed.epsilon_ = e;
    return changed;
  }
  Approx margin(double m) const {
    Approx changed = *this;
    changed.margin_ = m;
    return changed;
  }
  friend bool operator==(double got, const Approx& want) {
    return std::fabs(got - want.value_) <= std::max(want.margin_, want.epsilon_ * std::fabs(want.value_));
  }

 private:
  double value_;
  double epsilon_ = std::numeric_limits<float>::epsilon() * 100;
  double margin_ = 0;
};

// The number of tests that failed. With names, only tests whose name contains one of them; a name that no
// test contains counts as one that failed.
inline int run_bare_tests(const std::vector<std::string>& names) {
  int failed = 0, ran = 0;
  for (const Test& test : tests()) {
    const std::string name = test.name;
    bool wanted = names.empty();
    for (const std::string& part : names) wanted = wanted || name.find(part) != std::string::npos;
    if (!wanted) continue;
    ++ran;
    const int before = failures();
    try {
      test.body();
    } catch (const Failure&) {  // reported where it happened
    } catch (const std::exception& error) {
      report(test.name, 0, error.what());
    }
    const bool passed = failures() == before;
    if (!passed) ++failed;
    std::printf("%s %s\n", passed ? "passed" : "FAILED", test.name);
    std::fflush(stdout);
  }
  for (const std::string& part : names) {
    bool known = false;
    for (const Test& test : tests()) known = known || std::string(test.name).find(part) != std::string::npos;
    if (known) continue;
    std::printf("FAILED no test has '%s' in its name\n", part.c_str());
    ++failed;
  }
  std::printf("%d tests, %d failed\n", ran, failed);
  return failed;
}

}  // namespace baton::test::bare

using baton::test::bare::Approx;

#define BATON_JOIN_(a, b) a##b
#define BATON_JOIN(a, b) BATON_JOIN_(a, b)
#define BATON_TEST_CASE(body, name)                                              \
  static void body();                                                            \
  static const ::baton::test::bare::Registrar BATON_JOIN(body, _at)(name, body); \
  static void body()
#define TEST_CASE(name, ...) BATON_TEST_CASE(BATON_JOIN(bare_test_, __LINE__), name)
#define REQUIRE(...) \
  ::baton::test::bare::check(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__, true)
#define CHECK(...) \
  ::baton::test::bare::check(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__, false)
#define BATON_TEXT(...) (std::ostringstream() << __VA_ARGS__).str()
#define INFO(...) const ::baton::test::bare::Note BATON_JOIN(note_, __LINE__)(BATON_TEXT(__VA_ARGS__))
#define CAPTURE(value) INFO(#value " = " << (value))
#define FAIL(...)                                                                                 \
  do {                                                                                            \
    ::baton::test::bare::check(false, BATON_TEXT(__VA_ARGS__).c_str(), __FILE__, __LINE__, true); \
  } while (false)
