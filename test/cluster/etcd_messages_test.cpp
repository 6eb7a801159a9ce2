// What etcd's JSON gateway says and hears. The answers are an etcd 3.4's own.
#include "cluster/etcd_messages.hpp"

#include "support/catch.hpp"

using namespace baton;
using namespace baton::cluster;

TEST_CASE("requests say what etcd expects") {
  // "/a/" up to "/a0": all that begins with "/a/".
  CHECK(etcd_list_request("/a/") == R"({"key":"L2Ev","range_end":"L2Ew"})");
  CHECK(etcd_list_request("a\xFF") == R"({"key":"Yf8=","range_end":"Yg=="})");
  CHECK(etcd_list_request("\xFF") == R"({"key":"/w==","range_end":"AA=="})");
  CHECK(etcd_watch_request("/a/", 7) ==
        R"({"create_request":{"key":"L2Ev","range_end":"L2Ew","start_revision":"7"}})");
  CHECK(etcd_put_request("k", "v", 7587848390000000001) ==
        R"({"key":"aw==","lease":"7587848390000000001","value":"dg=="})");
  CHECK(etcd_grant_request(10) == R"({"TTL":"10"})");
  CHECK(etcd_lease_request(12) == R"({"ID":"12"})");
}

TEST_CASE("answers are read") {
  const auto empty = parse_etcd_listing(
      R"({"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"1","raft_term":"2"}})");
  REQUIRE(empty);
  CHECK(empty->header.cluster == 14841639068965178418ULL);
  CHECK(empty->entries.empty());
  const auto one = parse_etcd_listing(
      R"({"header":{"revision":"9"},"kvs":[{"key":"aw==","create_revision":"2","mod_revision":"3","version":"1","value":"dg=="}],"count":"1"})");
  REQUIRE(one);
  REQUIRE(one->entries.size() == 1);
  CHECK(one->entries[0].key == "k");
  CHECK(one->entries[0].value == "v");
  CHECK(one->entries[0].revision == 3);

  const auto created = parse_etcd_watch(R"({"result":{"header":{"revision":"3"},"created":true}})");
  REQUIRE(created);
  CHECK(created->created);
  CHECK(created->header.revision == 3);
  const auto events = parse_etcd_watch(
      R"({"result":{"header":{"revision":"5"},"events":[{"kv":{"key":"aw==","mod_revision":"4","value":"dg=="}},{"type":"DELETE","kv":{"key":"aw==","mod_revision":"5"}}]}})");
  REQUIRE(events);
  REQUIRE(events->events.size() == 2);
  CHECK_FALSE(events->events[0].deleted);
  CHECK(events->events[1].deleted);
  CHECK(events->events[1].entry.revision == 5);
  const auto compacted =
      parse_etcd_watch(R"({"result":{"header":{},"canceled":true,"compact_revision":"42"}})");
  REQUIRE(compacted);
  CHECK(compacted->canceled);
  CHECK(compacted->compact_revision == 42);

  const auto granted = parse_etcd_grant(R"({"header":{},"ID":"7587848390000000001","TTL":"10"})");
  REQUIRE(granted);
  CHECK(granted->id == 7587848390000000001);
  CHECK(granted->ttl == 10);
  const auto kept = parse_etcd_keepalive(R"({"result":{"header":{},"ID":"7","TTL":"10"}})");
  REQUIRE(kept);
  CHECK(kept->ttl == 10);
  const auto expired = parse_etcd_keepalive(R"({"result":{"header":{},"ID":"7"}})");
  REQUIRE(expired);
  CHECK(expired->ttl == 0);
}

TEST_CASE("errors that etcd reports keep their kind") {
  const Error lease =
      parse_etcd_error(404, R"({"error":"etcdserver: requested lease not found","message":"...","code":5})");
  CHECK(lease.code == ErrorCode::not_found);
  CHECK(lease.message.find("requested lease not found") != std::string::npos);
  CHECK(parse_etcd_error(503, "<html>").message.find("503") != std::string::npos);
  const auto stream = parse_etcd_watch(R"({"error":{"grpc_code":14,"message":"no leader"}})");
  REQUIRE_FALSE(stream);
  CHECK(stream.error().code == ErrorCode::unavailable);
  CHECK(stream.error().message.find("no leader") != std::string::npos);
}

TEST_CASE("what contradicts itself is corrupt") {
  for (const char* wrong :
       {"", "1", "[]", "{", R"({"header":1})", R"({"header":{"revision":"1x"}})",
        R"({"header":{"revision":true}})", R"({"header":{"revision":"99999999999999999999"}})",
        R"({"header":{"revision":"1"},"kvs":{}})", R"({"header":{"revision":"1"},"kvs":[1]})",
        R"({"header":{"revision":"1"},"kvs":[{"key":"*"}]})",
        R"({"header":{"revision":"1"},"kvs":[{"mod_revision":"1"}]})", R"({})"}) {
    INFO(wrong);
    const auto listing = parse_etcd_listing(wrong);
    REQUIRE_FALSE(listing);
    CHECK(listing.error().code == ErrorCode::corrupt);
  }
  for (const char* wrong :
       {"{}", R"({"result":[]})", R"({"result":{"created":"yes"}})", R"({"result":{"events":[{}]}})",
        R"({"result":{"events":[{"type":"MOVE","kv":{"key":"aw==","mod_revision":"1"}}]}})"}) {
    INFO(wrong);
    CHECK_FALSE(parse_etcd_watch(wrong));
  }
  CHECK_FALSE(parse_etcd_grant(R"({"ID":"1"})"));
  CHECK_FALSE(parse_etcd_keepalive(R"({"result":{"ID":{}}})"));
}

TEST_CASE("a node's value names where it is dialed") {
  NodeInfo self;
  self.name = "a \"quoted\" \xFF";  // not even UTF-8
  CHECK(*parse_etcd_node(etcd_node_value(self, "[::1]:7000")) == "[::1]:7000");
  CHECK_FALSE(parse_etcd_node(R"({"address":"[::1]"})"));
}
