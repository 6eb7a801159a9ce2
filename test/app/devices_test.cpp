// What the daemons of `baton serve --devices` are told.
#include "app/devices.hpp"

#include <set>

#include "support/catch.hpp"

namespace baton::test {
namespace {

constexpr unsigned kCores = 8;

ServeOptions several(const char* devices, const char* role = "mixed") {
  ServeOptions options;
  options.devices = devices;
  options.role = role;
  return options;
}

// The flag that the error is about, if its message says so, too.
std::string refused(const ServeOptions& options) {
  const auto made = options_for_devices(options, kCores);
  if (made) return "nothing";
  INFO(made.error().message);
  CHECK(made.error().code == ErrorCode::invalid_argument);
  CHECK(made.error().message.find(made.error().field) != std::string::npos);
  return made.error().field;
}

std::vector<std::string> of_each(const ServeOptions& options, std::string ServeOptions::*field) {
  const auto made = options_for_devices(options, kCores);
  REQUIRE(made);
  std::vector<std::string> values;
  for (const ServeOptions& own : *made) {
    CHECK(own.devices.empty());
    CHECK(own.exit_on_device_failure);
    values.push_back(own.*field);
  }
  return values;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("bare numbers are GPUs, and each device gets a daemon") {
  CHECK(of_each(several("0,1"), &ServeOptions::device) == Texts{"cuda:0", "cuda:1"});
  CHECK(of_each(several("3,cuda:12,cpu"), &ServeOptions::device) == Texts{"cuda:3", "cuda:12", "cpu"});
  CHECK(of_each(several("cpu,cpu"), &ServeOptions::device) == Texts{"cpu", "cpu"});
  CHECK(of_each(several("auto"), &ServeOptions::device) == Texts{"auto"});
}

TEST_CASE("devices that are no devices, or the same GPU twice") {
  for (const char* devices : {"", ",", "0,", "0,,1", "gpu", "0 ,1", "-1", "0;1", "cuda:", "99999999999",
                              "all,0", "0,0", "0,cuda:0", "cuda,0", "auto,cuda", "1,2,1"}) {
    INFO(devices);
    CHECK(refused(several(devices)) == "--devices");
  }
}

TEST_CASE("one role for all, or one for each") {
  CHECK(of_each(several("0,1", "decode"), &ServeOptions::role) == Texts{"decode", "decode"});
  CHECK(of_each(several("0,1,2", "prefill,decode,mixed"), &ServeOptions::role) ==
        Texts{"prefill", "decode", "mixed"});
  CHECK(refused(several("0,1", "prefill,decode,decode")) == "--role");
  CHECK(refused(several("0,1,2", "prefill,decode")) == "--role");
  CHECK(refused(several("0", "prefill,decode")) == "--role");
}

TEST_CASE("devices that share layers make one engine") {
  const auto engines = [](const char* devices, const char* tensor_parallel, const char* role = "mixed") {
    ServeOptions options = several(devices, role);
    options.tensor_parallel = tensor_parallel;
    return options;
  };
  const auto told = [&](const ServeOptions& options) {
    Texts texts = of_each(options, &ServeOptions::device);
    const Texts widths = of_each(options, &ServeOptions::tensor_parallel);
    for (std::size_t i = 0; i < texts.size(); ++i) texts[i] += " x " + widths[i];
    return texts;
  };
  CHECK(told(engines("0,1,2,3", "2")) == Texts{"cuda:0 x 2", "cuda:2 x 2"});
  CHECK(told(engines("0,1,2,3", "4")) == Texts{"cuda:0 x 4"});
  CHECK(told(engines("4,5,6,7,0,1", "4,2", "decode,prefill")) == Texts{"cuda:4 x 4", "cuda:0 x 2"});
  CHECK(of_each(engines("0,1,2,3,4,5", "2,4", "prefill,decode"), &ServeOptions::role) ==
        Texts{"prefill", "decode"});
  CHECK(told(engines("cpu,cpu,cpu", "2,1")) == Texts{"cpu x 2", "cpu x 1"});
  CHECK(told(engines("2,cuda:3,cpu", "2,1")) == Texts{"cuda:2 x 2", "cpu x 1"});
  for (const auto& [devices, tensor_parallel] :
       std::vector<std::pair<const char*, const char*>>{{"0,1,2", "2"},
                                                        {"0,1,2,3", "2,1"},
                                                        {"0,1", "2,2"},
                                                        {"0,2", "2"},
                                                        {"1,0", "2"},
                                                        {"0,cpu", "2"},
                                                        {"cpu,0", "2"},
                                                        {"auto,cpu", "2"},
                                                        {"0,1", "0"},
                                                        {"0,1", "9"},
                                                        {"0,1", "2,"},
                                                        {"0,1", "two"}}) {
    INFO(devices << " by " << tensor_parallel);
    CHECK(refused(engines(devices, tensor_parallel)) == "--tensor-parallel");
  }
  CHECK(refused(engines("0,1,2,3", "2", "prefill,decode,decode,decode")) == "--role");
  ServeOptions shares = engines("cpu,cpu,cpu,0", "2,1,1");
  shares.kv_memory = "30%";
  CHECK(of_each(shares, &ServeOptions::kv_memory) == Texts{"20.000000%", "10.000000%", "10.000000%"});
  const auto made = options_for_devices(shares, 9);
  REQUIRE(made);
  CHECK((*made)[0].threads == 6);
  CHECK((*made)[1].threads == 3);
}

TEST_CASE("ports and names count up, and each dials all others") {
  ServeOptions options = several("0,1,2");
  options.port = 9000;
  options.node_name = "box";
  options.peer_listen = "10.0.0.1:7100";
  options.admin_listen = "127.0.0.1:9100";
  options.advertise = "box.example:7200";
  options.peers = {"10.0.0.2:7000"};
  options.insecure = true;
  const auto made = options_for_devices(options, kCores);
  REQUIRE(made);
  REQUIRE(made->size() == 3);
  const ServeOptions& last = made->at(2);
  CHECK(last.port == 9002);
  CHECK(last.node_name == "box-2");
  CHECK(last.peer_listen == "10.0.0.1:7102");
  CHECK(last.admin_listen == "127.0.0.1:9102");
  CHECK(last.advertise == "box.example:7202");
  CHECK(last.peers == Texts{"10.0.0.2:7000", "10.0.0.1:7100", "10.0.0.1:7101"});
  CHECK(made->front().port == 9000);
  CHECK(made->front().node_name == "box-0");
  CHECK(made->front().peers == Texts{"10.0.0.2:7000", "10.0.0.1:7101", "10.0.0.1:7102"});
}

TEST_CASE("daemons of one machine find each other without being told how") {
  const auto made = options_for_devices(several("0,1"), kCores);
  REQUIRE(made);
  CHECK(made->at(0).peer_listen == "127.0.0.1:7000");
  CHECK(made->at(1).peer_listen == "127.0.0.1:7001");
  CHECK(made->at(0).peers == Texts{"127.0.0.1:7001"});
  CHECK(made->at(0).node_name.empty());  // host name and port, which differ

  ServeOptions everywhere = several("0,1");
  everywhere.peer_listen = "0.0.0.0:7000";
  everywhere.insecure = true;
  CHECK(options_for_devices(everywhere, kCores)->at(1).peers == Texts{"127.0.0.1:7000"});
  everywhere.peer_listen = "[::]:7000";
  CHECK(options_for_devices(everywhere, kCores)->at(1).peers == Texts{"[::1]:7000"});
}

TEST_CASE("one device is no cluster") {
  const auto made = options_for_devices(several("0"), kCores);
  REQUIRE(made);
  CHECK_FALSE(has_cluster(made->front()));
  ServeOptions elsewhere = several("0");
  elsewhere.port = 7000;  // where several would find each other
  CHECK(options_for_devices(elsewhere, kCores));
  ServeOptions with_peer = several("0");
  with_peer.peers = {"127.0.0.1:7100"};
  CHECK(of_each(with_peer, &ServeOptions::peer_listen) == Texts{"127.0.0.1:7000"});
}

TEST_CASE("ports that do not exist, are not known, or are each other's") {
  const auto with = [](auto change) {
    ServeOptions options = several("0,1");
    change(options);
    return refused(options);
  };
  CHECK(with([](ServeOptions& o) { o.port = 0; }) == "--port");
  CHECK(with([](ServeOptions& o) { o.port = 65535; }) == "--port");
  CHECK(with([](ServeOptions& o) { o.port = 65534; }) == "nothing");
  CHECK(with([](ServeOptions& o) { o.peer_listen = "127.0.0.1:0"; }) == "--peer-listen");
  CHECK(with([](ServeOptions& o) { o.peer_listen = "127.0.0.1"; }) == "--peer-listen");
  CHECK(with([](ServeOptions& o) { o.peer_listen = "127.0.0.1:8001"; }) == "--peer-listen");
  CHECK(with([](ServeOptions& o) { o.peer_listen = "127.0.0.1:8002"; }) == "nothing");
  CHECK(with([](ServeOptions& o) { o.peer_listen = "127.0.0.1:7999"; }) == "--peer-listen");
  CHECK(with([](ServeOptions& o) { o.admin_listen = "127.0.0.1:7001"; }) == "--admin-listen");
  CHECK(with([](ServeOptions& o) { o.admin_listen = "127.0.0.1:65535"; }) == "--admin-listen");
  CHECK(with([](ServeOptions& o) { o.advertise = "box:65535"; }) == "--advertise");
  CHECK(with([](ServeOptions& o) { o.advertise = "box:0"; }) == "nothing");
}

TEST_CASE("what one daemon may not be told is refused before any starts") {
  ServeOptions options = several("0,cpu");
  options.block_size = 24;
  CHECK(refused(options) == "--block-size");
  options = several("0,1");
  options.host = "0.0.0.0";
  CHECK(refused(options) == "--host");
}

TEST_CASE("shares of the machine are divided, sizes and threads for each are not") {
  ServeOptions options = several("cpu,cpu,0");
  options.index_memory = "3%";
  auto made = options_for_devices(options, kCores);
  REQUIRE(made);
  CHECK(made->at(1).kv_memory == "5.000000%");  // two on the host; the GPU's engine takes none of it
  CHECK(made->at(1).index_memory == "1.000000%");
  CHECK(made->at(1).threads == 4);
  CHECK(options_for_devices(options, 1)->at(0).threads == 1);

  options.kv_memory = "8G";
  options.threads = 6;
  options.index_memory = "256M";
  made = options_for_devices(options, kCores);
  CHECK(made->at(1).kv_memory == "8G");
  CHECK(made->at(1).index_memory == "256M");
  CHECK(made->at(1).threads == 6);

  made = options_for_devices(several("cpu,0,1"), kCores);
  CHECK(made->at(0).kv_memory == "10%");
  CHECK(made->at(0).threads == 0);
}

}  // namespace baton::test
