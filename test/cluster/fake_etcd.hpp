// An etcd v3 JSON gateway on the loopback interface, as much of it as a membership uses: keys, leases,
// watches with history, compaction. Leases expire when the test says so. It can be taken down, cut off,
// frozen and made to talk nonsense.
//
// One thread for each connection, all behind one mutex: simple, and slow enough to be read.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/sockets.hpp"

namespace baton::test {

class FakeEtcd {
 public:
  enum class Mode { answers, hangs, talks_nonsense, cuts_at_once };

  FakeEtcd();
  ~FakeEtcd();

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  void set_mode(Mode mode);
  void go_down();  // cuts every connection; nobody listens
  void come_up();  // at the same port
  void cut_streams();
  void compact();        // everything before now
  void expire_leases();  // all; with their keys
  void lose_data();      // a new cluster, empty, at revision 1
  void put(const std::string& key, const std::string& value);
  void remove(const std::string& key);
  std::map<std::string, std::string> keys();
  int watches();  // streams that were opened
  int grants();
  int leases();  // alive

 private:
  struct Value {
    std::string value;
    std::int64_t revision = 0;
    std::int64_t lease = 0;
  };
  struct Change {
    std::string key;
    std::string value;
    std::int64_t revision = 0;
    bool deleted = false;
  };
  void listen(std::uint16_t port);
  void accept();
  void serve(const Socket& client);
  std::string answer(const std::string& path, const nlohmann::json& request);  // with mutex_
  void watch(const Socket& client, const nlohmann::json& request);
  bool receive_request(const Socket& client, std::string& path, std::string& body);
  void change(const std::string& key, const std::string* value, std::int64_t lease);  // with mutex_
  nlohmann::json header() const;

  std::uint16_t port_ = 0;
  Socket listener_;
  std::thread acceptor_;
  std::mutex mutex_;  // guards all that follows
  std::condition_variable changed_;
  Mode mode_ = Mode::answers;
  bool down_ = false;
  std::uint64_t cut_ = 0;  // rises with each cut
  std::vector<std::thread> connections_;
  std::uint64_t cluster_ = 14841639068965178418ULL;
  std::int64_t revision_ = 1;
  std::int64_t compacted_ = 0;
  std::int64_t next_lease_ = 7587848390000000001;
  std::map<std::string, Value> keys_;
  std::vector<Change> history_;
  std::map<std::int64_t, std::int64_t> leases_;  // id: TTL
  int watches_ = 0;
  int grants_ = 0;
};

}  // namespace baton::test
