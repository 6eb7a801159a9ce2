// What `baton serve` can be told: one row per setting (flag, TOML key, default, constraint, help).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "baton/base/clock.hpp"
#include "baton/base/config.hpp"
#include "baton/base/result.hpp"
#include "baton/model/adapter.hpp"

namespace baton {

struct ServeOptions {
  std::string model;                      // empty: the bundled demo model
  std::vector<std::string> served_names;  // empty: the model directory's name
  std::vector<std::string> adapters;      // "NAME=DIR"
  std::string tool_call_parser = "auto";
  std::string reasoning_parser = "auto";
  std::string embeddings = "auto";
  std::string host = "127.0.0.1";
  std::int32_t port = 8000;
  std::string api_key_file;  // empty: no keys are asked for
  std::string tls_cert;      // with tls_key; empty: plain HTTP
  std::string tls_key;
  std::string admin_listen;    // empty: admin routes are on the HTTP port
  std::string role = "mixed";  // with devices: one for all, or "prefill,decode,..."
  std::string roles = "static";
  Duration ttft_target = std::chrono::seconds(2);
  Duration itl_target = std::chrono::milliseconds(50);
  std::string node_name;    // empty: host name and port
  std::string peer_listen;  // empty: no peers
  std::vector<std::string> peers;
  std::vector<std::string> dns;
  std::string dns_server;  // empty: the system's
  Duration dns_interval = std::chrono::seconds(5);
  std::vector<std::string> etcd;
  std::string etcd_prefix = "/baton/nodes/";
  std::string advertise;  // empty: where we listen
  std::string secret_file;
  std::int32_t block_size = 16;
  std::string kv_memory = "10%";
  std::int32_t max_sequences = 64;
  std::int32_t max_batch_tokens = 512;
  std::int32_t max_waiting = 1024;
  std::int32_t draft_tokens = 0;
  std::int32_t max_context = 0;  // 0: the model's
  std::int32_t threads = 0;      // 0: one per core
  std::string isa = "auto";
  std::string device = "cpu";
  std::string devices;  // "0,1": a daemon for each, see app/devices.hpp; a daemon's own options have none
  std::string tensor_parallel = "1";  // with devices: one for all, or "2,4,..."
  bool exit_on_device_failure = false;
  std::string gpu_memory = "90%";
  std::string kv_dtype = "auto";
  std::string quantization = "none";
  std::string deterministic = "off";
  Duration request_timeout = std::chrono::minutes(10);
  Duration queue_timeout = std::chrono::seconds(60);
  Duration prefill_timeout = std::chrono::seconds(120);
  Duration transfer_timeout = std::chrono::seconds(10);
  Duration token_timeout = std::chrono::seconds(60);
  Duration admission_ttft{0};
  Duration drain_timeout = std::chrono::seconds(60);
  Duration peer_silence = std::chrono::seconds(3);
  bool insecure = false;
  std::string policy = "kv";
  std::string kv_digests = "on";
  std::string index_memory = "256M";
  std::string log_level = "info";
  std::string log_format = "text";
  std::string faults;
  std::map<std::string, std::string> ucx;  // [ucx] of the file, --ucx: UCX settings without their prefix
};

// Of "cpu", "cuda", "cuda:N" or "auto": which GPU is meant; nothing for the CPU.
struct DeviceChoice {
  std::int32_t gpu = -1;  // none
  bool fall_back = false;
};
Result<DeviceChoice> parse_device(const std::string& text, const std::string& flag = "--device");

// Devices that share each layer of a daemon's model; nothing where the text names several daemons'.
std::optional<std::int32_t> parse_tensor_parallel(const std::string& text);

// Of `--lora NAME=DIR`: invalid_argument where one is not so, or two have one name.
Result<std::vector<AdapterSource>> parse_adapters(const std::vector<std::string>& texts);

bool is_loopback(const std::string& host);
// Where the options name peers, or a place to find them or be found, this node is part of a cluster.
bool has_cluster(const ServeOptions& options);

std::vector<ConfigRow> serve_rows(ServeOptions& options);
// The flags that make of the defaults what `options` are.
std::vector<std::string> serve_flags(ServeOptions options);
// What no single row can check: combinations, and what needs a secret or keys. For the options of one daemon.
Result<void> check(const ServeOptions& options);

}  // namespace baton
