// A child process with two pipes: lines in, lines out. Killed and reaped when it goes out of scope.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace baton::test {

class Child {
 public:
  // `program` lies beside this test's own binary.
  explicit Child(const std::string& program, const std::vector<std::string>& arguments = {});
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void say(const std::string& line);
  // The next line it prints; nothing at its end or when it is silent for a minute.
  std::optional<std::string> hear();
  // Lines until one starts with `prefix`, which is returned whole.
  std::optional<std::string> hear_until(const std::string& prefix);
  void signal(int number) const {
    if (pid_ > 0) ::kill(pid_, number);  // after wait(), or without a child, -1 would mean everybody
  }
  int wait();  // the exit status as waitpid gives it

 private:
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
  std::string buffer_;
};

std::string hex_of(const std::vector<std::byte>& bytes);
std::vector<std::byte> bytes_of(const std::string& hex);

}  // namespace baton::test
