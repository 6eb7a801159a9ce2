#include "cluster/fake_etcd.hpp"

#include <nlohmann/json.hpp>

#include "baton/base/base64.hpp"

namespace baton::test {
namespace {

using nlohmann::json;

bool write_text(const Socket& socket, const std::string& text) {
  return write_all(socket, std::as_bytes(std::span(text)));
}

std::string http(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) +
         " X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

bool write_chunk(const Socket& socket, const json& message) {
  const std::string line = json{{"result", message}}.dump() + "\n";
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", line.size());
  return write_text(socket, size + line + "\r\n");
}

std::int64_t integer(const json& object, const char* key) {
  return object.contains(key) ? std::stoll(object[key].get<std::string>()) : 0;
}

std::string bytes(const json& object, const char* key) {
  return object.contains(key) ? decode_base64(object[key].get<std::string>()).value_or("?") : "";
}

bool in_range(const std::string& key, const json& request) {
  const std::string end = bytes(request, "range_end");
  return key >= bytes(request, "key") && (end == std::string(1, '\0') || key < end);
}

}  // namespace

FakeEtcd::FakeEtcd() { listen(0); }

FakeEtcd::~FakeEtcd() { go_down(); }

void FakeEtcd::listen(std::uint16_t port) {
  listener_ = Socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(listener_.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = loopback(port);
  REQUIRE(eventually(
      [&] { return ::bind(listener_.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0; }));
  REQUIRE(::listen(listener_.fd(), 64) == 0);
  socklen_t size = sizeof address;
  ::getsockname(listener_.fd(), reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept(); });
}

void FakeEtcd::set_mode(Mode mode) {
  std::lock_guard lock(mutex_);
  mode_ = mode;
  ++cut_;
  changed_.notify_all();
}

void FakeEtcd::go_down() {
  std::vector<std::thread> connections;
  {
    std::lock_guard lock(mutex_);
    if (down_) return;
    down_ = true;
    changed_.notify_all();
  }
  listener_.shut();
  acceptor_.join();
  listener_ = Socket();
  {
    std::lock_guard lock(mutex_);
    connections.swap(connections_);
  }
  for (std::thread& connection : connections) connection.join();
}

void FakeEtcd::come_up() {
  {
    std::lock_guard lock(mutex_);
    down_ = false;
  }
  listen(port_);
}

void FakeEtcd::cut_streams() {
  std::lock_guard lock(mutex_);
  ++cut_;
  changed_.notify_all();
}

void FakeEtcd::compact() {
  std::lock_guard lock(mutex_);
  compacted_ = revision_;
}

void FakeEtcd::expire_leases() {
  std::lock_guard lock(mutex_);
  leases_.clear();
  std::vector<std::string> dead;
  for (const auto& [key, value] : keys_) {
    if (value.lease != 0) dead.push_back(key);
  }
  for (const std::string& key : dead) change(key, nullptr, 0);
}

void FakeEtcd::lose_data() {
  std::lock_guard lock(mutex_);
  ++cluster_;
  revision_ = 1;
  compacted_ = 0;
  keys_.clear();
  history_.clear();
  leases_.clear();
  ++cut_;
  changed_.notify_all();
}

void FakeEtcd::put(const std::string& key, const std::string& value) {
  std::lock_guard lock(mutex_);
  change(key, &value, 0);
}

void FakeEtcd::remove(const std::string& key) {
  std::lock_guard lock(mutex_);
  change(key, nullptr, 0);
}

std::map<std::string, std::string> FakeEtcd::keys() {
  std::lock_guard lock(mutex_);
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : keys_) out[key] = value.value;
  return out;
}

int FakeEtcd::watches() {
  std::lock_guard lock(mutex_);
  return watches_;
}

int FakeEtcd::grants() {
  std::lock_guard lock(mutex_);
  return grants_;
}

int FakeEtcd::leases() {
  std::lock_guard lock(mutex_);
  return static_cast<int>(leases_.size());
}

void FakeEtcd::change(const std::string& key, const std::string* value, std::int64_t lease) {
  ++revision_;
  if (value != nullptr) {
    keys_[key] = {*value, revision_, lease};
  } else {
    keys_.erase(key);
  }
  history_.push_back({key, value == nullptr ? "" : *value, revision_, value == nullptr});
  changed_.notify_all();
}

json FakeEtcd::header() const {
  return {{"cluster_id", std::to_string(cluster_)},
          {"member_id", "10276657743932975437"},
          {"revision", std::to_string(revision_)},
          {"raft_term", "2"}};
}

void FakeEtcd::accept() {
  for (;;) {
    const int fd = ::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    std::lock_guard lock(mutex_);
    if (down_) {
      ::close(fd);
      return;
    }
    connections_.emplace_back([this, fd] { serve(Socket(fd)); });
  }
}

bool FakeEtcd::receive_request(const Socket& client, std::string& path, std::string& body) {
  std::string text;
  for (;;) {
    const std::size_t end = text.find("\r\n\r\n");
    const std::size_t length = text.find("Content-Length: ");
    if (end != std::string::npos && length < end) {
      const std::size_t size = std::stoul(text.substr(length + 16));
      if (text.size() >= end + 4 + size) {
        path = text.substr(5, text.find(' ', 5) - 5);  // after "POST "
        body = text.substr(end + 4, size);
        return text.starts_with("POST ");
      }
    }
    Bytes more;
    if (!read_some(client, more)) return false;
    text.append(reinterpret_cast<const char*>(more.data()), more.size());
  }
}

void FakeEtcd::serve(const Socket& client) {
  std::string path;
  std::string body;
  if (!receive_request(client, path, body)) return;
  const json request = json::parse(body);
  std::unique_lock lock(mutex_);
  if (mode_ == Mode::cuts_at_once) return;
  if (mode_ == Mode::hangs) {
    changed_.wait(lock, [&] { return mode_ != Mode::hangs || down_; });
    return;
  }
  if (mode_ == Mode::talks_nonsense) {
    lock.unlock();
    write_text(client, http(200, R"({"result":{"header":[],"kvs":"x","ID":{}},"kvs":[{"key":1}]})"));
    return;
  }
  if (path == "/v3/watch") {
    lock.unlock();
    return watch(client, request["create_request"]);
  }
  const std::string reply = answer(path, request);
  lock.unlock();
  write_text(client, reply);
}

std::string FakeEtcd::answer(const std::string& path, const json& request) {
  if (path == "/v3/kv/range") {
    json kvs = json::array();
    for (const auto& [key, value] : keys_) {
      if (in_range(key, request))
        kvs.push_back({{"key", encode_base64(key)},
                       {"value", encode_base64(value.value)},
                       {"mod_revision", std::to_string(value.revision)}});
    }
    json reply{{"header", header()}};
    if (!kvs.empty()) reply["kvs"] = kvs;
    return http(200, reply.dump());
  }
  if (path == "/v3/lease/grant") {
    ++grants_;
    leases_[next_lease_] = integer(request, "TTL");
    const json reply{{"header", header()},
                     {"ID", std::to_string(next_lease_)},
                     {"TTL", std::to_string(leases_[next_lease_])}};
    ++next_lease_;
    return http(200, reply.dump());
  }
  const std::int64_t lease = integer(request, path == "/v3/kv/put" ? "lease" : "ID");
  const bool lives = lease == 0 || leases_.contains(lease);
  if (path == "/v3/lease/keepalive") {
    json result{{"header", header()}, {"ID", std::to_string(lease)}};
    if (lives) result["TTL"] = std::to_string(leases_[lease]);
    return http(200, json{{"result", result}}.dump() + "\n");
  }
  if (!lives) return http(404, R"({"error":"etcdserver: requested lease not found","message":"x","code":5})");
  if (path == "/v3/kv/put") {
    const std::string value = bytes(request, "value");
    change(bytes(request, "key"), &value, lease);
    return http(200, json{{"header", header()}}.dump());
  }
  if (path == "/v3/lease/revoke") {
    leases_.erase(lease);
    std::vector<std::string> gone;
    for (const auto& [key, value] : keys_) {
      if (value.lease == lease) gone.push_back(key);
    }
    for (const std::string& key : gone) change(key, nullptr, 0);
    return http(200, json{{"header", header()}}.dump());
  }
  return http(404, "404 page not found");
}

void FakeEtcd::watch(const Socket& client, const json& request) {
  if (!write_text(client, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) return;
  std::unique_lock lock(mutex_);
  ++watches_;
  const std::uint64_t cut = cut_;
  std::int64_t next = integer(request, "start_revision");
  if (!write_chunk(client, {{"header", header()}, {"created", true}})) return;
  if (next <= compacted_) {
    write_chunk(
        client,
        {{"header", header()}, {"canceled", true}, {"compact_revision", std::to_string(compacted_ + 1)}});
    write_text(client, "0\r\n\r\n");
    return;
  }
  for (;;) {
    json events = json::array();
    for (const Change& change : history_) {
      if (change.revision < next || !in_range(change.key, request)) continue;
      json kv{{"key", encode_base64(change.key)}, {"mod_revision", std::to_string(change.revision)}};
      if (!change.deleted) kv["value"] = encode_base64(change.value);
      json event{{"kv", kv}};
      if (change.deleted) event["type"] = "DELETE";
      events.push_back(event);
    }
    next = std::max(next, revision_ + 1);
    if (!events.empty() && !write_chunk(client, {{"header", header()}, {"events", events}})) return;
    // A client that has gone is noticed at the next event, or when this stream is cut.
    if (changed_.wait_for(lock, kPatience, [&] { return down_ || cut != cut_ || revision_ >= next; })) {
      if (down_ || cut != cut_) return;
    }
  }
}

}  // namespace baton::test
