#include "cluster/etcd_messages.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>

#include "baton/base/base64.hpp"
#include "baton/peer/address.hpp"
#include "baton/schedule/scheduler.hpp"

namespace baton::cluster {
namespace {

using nlohmann::json;

constexpr std::size_t kShownBytes = 200;  // of what somebody else sent, in a message
constexpr int kGrpcNotFound = 5;

Error corrupt(const std::string& what) { return make_error(ErrorCode::corrupt, "etcd's answer: " + what); }

// The end of the range of all keys that begin with `prefix`: its last byte that can grow grows.
std::string range_end(std::string prefix) {
  while (!prefix.empty()) {
    const auto last = static_cast<std::uint8_t>(prefix.back());
    prefix.pop_back();
    if (last != 0xFF) return prefix + static_cast<char>(last + 1);
  }
  return std::string(1, '\0');  // no end
}

json range(const std::string& prefix) {
  const std::string first = prefix.empty() ? std::string(1, '\0') : prefix;
  return {{"key", encode_base64(first)}, {"range_end", encode_base64(range_end(prefix))}};
}

// Reads fields of one object; the first that is wrong sticks.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  template <class Integer>
  Integer integer(const char* key) {
    const json* field = find(key);
    if (field == nullptr) return 0;
    Integer value = 0;
    if (field->is_string()) {
      const auto& text = field->get_ref<const std::string&>();
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error == std::errc() && end == text.data() + text.size()) return value;
    } else if (field->is_number_unsigned() || (field->is_number_integer() && std::is_signed_v<Integer>)) {
      return field->get<Integer>();
    }
    fail(key);
    return 0;
  }
  bool boolean(const char* key) {
    const json* field = find(key);
    if (field == nullptr) return false;
    if (field->is_boolean()) return field->get<bool>();
    fail(key);
    return false;
  }
  std::string text(const char* key) {
    const json* field = find(key);
    if (field == nullptr) return {};
    if (field->is_string()) return field->get<std::string>();
    fail(key);
    return {};
  }
  std::string bytes(const char* key) {
    if (auto decoded = decode_base64(text(key))) return *std::move(decoded);
    fail(key);
    return {};
  }
  EtcdHeader header() {
    const json* field = find("header");
    if (field == nullptr) return {};
    Fields fields(*field);
    const EtcdHeader header{fields.integer<std::uint64_t>("cluster_id"),
                            fields.integer<std::int64_t>("revision")};
    adopt(fields);
    return header;
  }
  EtcdEntry entry() {
    EtcdEntry entry{bytes("key"), bytes("value"), integer<std::int64_t>("mod_revision")};
    if (entry.key.empty()) fail("key");
    if (entry.revision <= 0) fail("mod_revision");
    return entry;
  }
  // The elements of an array; none where it is left out.
  const json& list(const char* key) {
    static const json kNone = json::array();
    const json* field = find(key);
    if (field == nullptr) return kNone;
    if (field->is_array()) return *field;
    fail(key);
    return kNone;
  }
  const json* find(const char* key) {
    if (!object_.is_object()) {
      fail(key);
      return nullptr;
    }
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  void fail(const char* key) {
    if (wrong_.empty()) wrong_ = key;
  }
  void adopt(const Fields& inner) {
    if (wrong_.empty()) wrong_ = inner.wrong_;
  }
  bool failed() const { return !wrong_.empty(); }
  Error error() const { return corrupt("the field '" + wrong_ + "' is wrong"); }

 private:
  const json& object_;
  std::string wrong_;
};

// etcd's own errors: {"error": "...", "code": 5}, in streams {"error": {"grpc_code": 5, "message": "..."}}.
std::optional<Error> reported_error(const json& answer) {
  if (!answer.is_object() || !answer.contains("error")) return std::nullopt;
  const json& error = answer["error"];
  const json& place = error.is_object() ? error : answer;
  const json text = error.is_string() ? error : place.value("message", json());
  const json code = place.value(error.is_object() ? "grpc_code" : "code", json());
  const std::string shown = text.is_string() ? text.get<std::string>().substr(0, kShownBytes) : "an error";
  const bool not_found = code.is_number_integer() && code.get<std::int64_t>() == kGrpcNotFound;
  return make_error(not_found ? ErrorCode::not_found : ErrorCode::unavailable, "etcd says: " + shown);
}

Result<json> parse_answer(std::string_view text) {
  json answer = json::parse(text, nullptr, false);
  if (!answer.is_object()) return corrupt("no JSON object");
  if (auto error = reported_error(answer)) return *std::move(error);
  return answer;
}

// One message of a stream is wrapped in "result".
Result<json> parse_line(std::string_view line) {
  auto answer = parse_answer(line);
  if (!answer) return answer;
  const auto result = answer->find("result");
  if (result == answer->end() || !result->is_object()) return corrupt("a stream's message without result");
  return json(std::move(*result));
}

Result<EtcdLease> read_lease(const Result<json>& answer) {
  if (!answer) return answer.error();
  Fields fields(*answer);
  const EtcdLease lease{fields.integer<std::int64_t>("ID"), fields.integer<std::int64_t>("TTL")};
  if (fields.failed()) return fields.error();
  return lease;
}

std::string to_text(const json& request) {
  return request.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string etcd_list_request(const std::string& prefix) { return to_text(range(prefix)); }

std::string etcd_watch_request(const std::string& prefix, std::int64_t from_revision) {
  json create = range(prefix);
  create["start_revision"] = std::to_string(from_revision);
  return to_text({{"create_request", create}});
}

std::string etcd_put_request(const std::string& key, const std::string& value, std::int64_t lease) {
  return to_text(
      {{"key", encode_base64(key)}, {"value", encode_base64(value)}, {"lease", std::to_string(lease)}});
}

std::string etcd_grant_request(std::int64_t ttl_seconds) {
  return to_text({{"TTL", std::to_string(ttl_seconds)}});
}

std::string etcd_lease_request(std::int64_t id) { return to_text({{"ID", std::to_string(id)}}); }

Result<EtcdListing> parse_etcd_listing(std::string_view body) {
  const auto answer = parse_answer(body);
  if (!answer) return answer.error();
  Fields fields(*answer);
  EtcdListing listing;
  listing.header = fields.header();
  for (const json& kv : fields.list("kvs")) {
    Fields inner(kv);
    listing.entries.push_back(inner.entry());
    fields.adopt(inner);
  }
  if (listing.header.revision <= 0) fields.fail("revision");  // there is no way on without it
  if (fields.failed()) return fields.error();
  return listing;
}

Result<EtcdWatchMessage> parse_etcd_watch(std::string_view line) {
  const auto answer = parse_line(line);
  if (!answer) return answer.error();
  Fields fields(*answer);
  EtcdWatchMessage message;
  message.header = fields.header();
  message.created = fields.boolean("created");
  message.canceled = fields.boolean("canceled");
  message.compact_revision = fields.integer<std::int64_t>("compact_revision");
  message.cancel_reason = fields.text("cancel_reason").substr(0, kShownBytes);
  for (const json& event : fields.list("events")) {
    Fields outer(event);
    const std::string type = outer.text("type");  // PUT is zero, so left out
    const json* kv = outer.find("kv");
    if (kv == nullptr || (!type.empty() && type != "PUT" && type != "DELETE")) {
      outer.fail("events");
    } else {
      Fields inner(*kv);
      message.events.push_back({type == "DELETE", inner.entry()});
      outer.adopt(inner);
    }
    fields.adopt(outer);
  }
  if (fields.failed()) return fields.error();
  return message;
}

Result<EtcdLease> parse_etcd_grant(std::string_view body) {
  auto lease = read_lease(parse_answer(body));
  if (lease && (lease->id == 0 || lease->ttl <= 0)) return corrupt("a lease without ID or TTL");
  return lease;
}

Result<EtcdLease> parse_etcd_keepalive(std::string_view line) { return read_lease(parse_line(line)); }

Error parse_etcd_error(int status, std::string_view body) {
  const json answer = json::parse(body, nullptr, false);
  if (auto error = reported_error(answer)) return *std::move(error);
  return make_error(ErrorCode::unavailable, "etcd answers with the HTTP status " + std::to_string(status));
}

std::string etcd_node_value(const NodeInfo& self, const std::string& address) {
  return to_text({{"name", self.name},
                  {"address", address},
                  {"role", to_string(self.role)},
                  {"model", self.model_name},
                  {"http", self.http_address},
                  {"version", self.version}});
}

Result<std::string> parse_etcd_node(std::string_view value) {
  const json node = json::parse(value, nullptr, false);
  if (!node.is_object() || !node.contains("address") || !node["address"].is_string())
    return make_error(ErrorCode::corrupt, "no JSON object with an address");
  const auto address = parse_host_port(node["address"].get_ref<const std::string&>());
  if (!address) return make_error(ErrorCode::corrupt, address.error().message);
  if (address->port == 0) return make_error(ErrorCode::corrupt, "an address with port 0");
  return to_string(*address);
}

}  // namespace baton::cluster
