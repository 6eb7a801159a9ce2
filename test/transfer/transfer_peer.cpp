// The other process of the two-process tests: a UCX transport driven by lines on stdin.
//
// With --pace its sends take 2 ms each; with --interface=IP its sockets are bound there, else to 127.0.0.1.
//   connect ADDRESS | disconnect | deafen | send ID COUNT BYTES SEED | expect ID COUNT BYTES SEED | close ID
//   | quit
// It prints its address first, then "block INDEX OUTCOME", "sent INDEX OUTCOME" and "closed" as they happen.
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <sstream>

#include "baton/transfer/ucx_transport.hpp"
#include "child.hpp"
#include "contract.hpp"
#include "deaf.hpp"

using namespace baton;
using namespace baton::test;

namespace {

std::mutex output;

void print(const std::string& line) {
  std::lock_guard lock(output);
  std::cout << line << std::endl;
}

std::string name_of(const Result<void>& outcome) {
  return outcome ? "ok" : std::string(to_string(outcome.error().code));
}

class PrintingSink final : public ReceiveSink {
 public:
  void on_block(TransferId, std::uint32_t index, Result<void> outcome) override {
    print("block " + std::to_string(index) + " " + name_of(outcome));
  }
  void on_closed(TransferId) override { print("closed"); }
};

}  // namespace

int main(int argc, char** argv) {
  FaultPoints pace;
  (void)pace.configure("transfer.send=hold:2");
  UcxOptions options;
  options.transport.interface_address = "127.0.0.1";
  options.force_rendezvous = std::getenv("BATON_TEST_RENDEZVOUS") != nullptr;
  for (const std::string& argument : std::vector<std::string>(argv + 1, argv + argc)) {
    if (argument == "--pace") options.transport.faults = &pace;
    if (argument.starts_with("--interface=")) options.transport.interface_address = argument.substr(12);
  }
  std::vector<std::unique_ptr<Blocks>> kept;  // outlive the transport
  auto transport = make_ucx_transport(options, null_logger());
  if (!transport) {
    std::cerr << transport.error().message << std::endl;
    return 1;
  }
  print("address " + hex_of((*transport)->address()));
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string verb, id_text;
    std::size_t count = 0, bytes = 0;
    std::uint64_t seed = 0;
    words >> verb >> id_text >> count >> bytes >> seed;
    const TransferId id = hash_from_hex(id_text).value_or(TransferId{});
    if (verb == "quit") break;
    if (verb == "disconnect") (*transport)->disconnect("parent");
    if (verb == "connect" && !(*transport)->connect("parent", bytes_of(id_text))) return 2;
    if (verb == "deafen") deafen(**transport);
    if (verb == "close") (*transport)->close(id);
    if (verb == "expect") {
      Blocks hashes(count, bytes, seed);
      kept.push_back(std::make_unique<Blocks>(count, bytes, seed + 1));
      if (!(*transport)->expect(id, kept.back()->expected(hashes), std::make_shared<PrintingSink>()))
        return 3;
      print("expecting");
    }
    if (verb == "send") {
      kept.push_back(std::make_unique<Blocks>(count, bytes, seed));
      for (std::size_t i = 0; i < count; ++i)
        (*transport)->send("parent", kept.back()->outgoing(id, i), [i](Result<void> outcome) {
          print("sent " + std::to_string(i) + " " + name_of(outcome));
        });
    }
  }
  transport->reset();
  return 0;
}
