// Files of a deployment: one daemon for each engine, each knows the others, and the ports do not meet.
#include "baton/plan/artifacts.hpp"

#include "plan/setups.hpp"
#include "support/catch.hpp"

using namespace baton;

namespace {

Choice split_choice() {
  Choice c;
  c.disaggregated = true;
  c.prefill_workers = 1, c.decode_workers = 2, c.replicas = 2, c.batch = 40, c.prefill_batch = 1;
  return c;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("disaggregated: prefill and decode daemons in one cluster") {
  const auto files = deployment_files(split_choice(), plan_test::request(),
                                      {.model_directory = "/models/m", .served_name = "m"});
  for (const char* name :
       {"prefill-0.toml", "prefill-1.toml", "decode-0.toml", "decode-3.toml", "run.sh", "compose.yaml",
        "systemd/baton-decode-3.service", "k8s/prefill.yaml", "k8s/decode.yaml", "k8s/services.yaml"})
    CHECK(files.contains(name));
  CHECK_FALSE(files.contains("decode-4.toml"));
  CHECK(has(files.at("decode-3.toml"), "role = \"decode\""));
  CHECK(has(files.at("decode-3.toml"), "max_sequences = 50"));
  CHECK(has(files.at("decode-3.toml"), "peers = [\"127.0.0.1:7000\", \"127.0.0.1:7001\""));
  CHECK(has(files.at("prefill-0.toml"), "max_batch_tokens = 4000"));
  CHECK_FALSE(has(files.at("prefill-0.toml"), "peers = "));
  CHECK(has(files.at("run.sh"), "CUDA_VISIBLE_DEVICES=5 baton serve --config decode-3.toml --port 8005 &"));
  CHECK(has(files.at("compose.yaml"), "--peer prefill-0:7000"));
  CHECK(has(files.at("k8s/decode.yaml"), "replicas: 4"));
  CHECK(has(files.at("k8s/decode.yaml"), "nvidia.com/gpu: 1"));
}

TEST_CASE("RDMA devices are asked for where they have a name") {
  const auto text_of = [](const char* file, const char* device, const std::string& resource) {
    const DeploymentNames names{
        .model_directory = "/m", .served_name = "m", .device = device, .rdma_resource = resource};
    return deployment_files(split_choice(), plan_test::request(), names).at(file);
  };
  const std::string with = text_of("k8s/decode.yaml", "cuda", "rdma/hca_shared_devices");
  CHECK(has(with, "resources: {limits: {nvidia.com/gpu: 1, rdma/hca_shared_devices: 1}}\n"));
  CHECK(has(with, "securityContext: {capabilities: {add: [IPC_LOCK]}}\n"));
  CHECK(has(with, "TLS = \"rc_x,dc_x,tcp,self,cuda_copy,gdr_copy\""));
  const std::string host = text_of("k8s/prefill.yaml", "cpu", "rdma/ib");
  CHECK(has(host, "resources: {limits: {rdma/ib: 1}}\n"));
  CHECK(has(host, "TLS = \"rc_x,dc_x,tcp,self\""));
  CHECK(has(text_of("decode-0.toml", "cuda", "rdma/ib"), "RNDV_SCHEME = \"get_zcopy\""));
  for (const char* file : {"k8s/decode.yaml", "decode-0.toml"}) {
    const std::string without = text_of(file, "cuda", "");
    CHECK_FALSE(has(without, "rdma"));
    CHECK_FALSE(has(without, "IPC_LOCK"));
    CHECK_FALSE(has(without, "[ucx]"));
  }
}

TEST_CASE("fp8 that the checkpoint does not have is made when it is loaded") {
  PlanRequest request = plan_test::request();
  const auto file_of = [&](const char* name) {
    return deployment_files(split_choice(), request, {.model_directory = "/models/m", .served_name = "m"})
        .at(name);
  };
  constexpr const char* kLine = "quantization = \"fp8\"";
  request.prefill.weights = request.decode.weights = Precision::bf16;
  CHECK_FALSE(has(file_of("prefill-0.toml"), kLine));
  request.prefill.weights = request.decode.weights = Precision::fp8;
  for (const bool stored : {false, true}) {
    for (const bool block_scales : {false, true}) {
      request.prefill.model.stored = request.decode.model.stored = stored ? Precision::fp8 : Precision::bf16;
      request.prefill.model.block_scales = request.decode.model.block_scales = block_scales;
      CHECK(has(file_of("prefill-0.toml"), kLine) == (!stored || block_scales));
      CHECK(has(file_of("decode-0.toml"), kLine) == (!stored || block_scales));
    }
  }
}

TEST_CASE("several machines: a GPU and ports of each, peers by name, a secret") {
  PlanRequest request = plan_test::request();
  request.prefill.system.node_gpus = request.decode.system.node_gpus = 4;
  const auto files =
      deployment_files(split_choice(), request, {.model_directory = "/models/a \"b\"", .served_name = "m"});
  CHECK_FALSE(files.contains("compose.yaml"));
  const std::string& last = files.at("decode-3.toml");  // the sixth daemon
  CHECK(has(last, "path = \"/models/a \\\"b\\\"\""));
  CHECK(has(last, "secret_file = "));
  CHECK(has(last, "peer_listen = \"0.0.0.0:7001\""));
  CHECK(has(last, "\"node-0:7003\", \"node-1:7000\"]"));
  CHECK(has(files.at("run.sh"),
            "[ \"$machine\" != 1 ] || { CUDA_VISIBLE_DEVICES=1 baton serve --config decode-3.toml --port "
            "8001 & }"));
  CHECK_FALSE(has(files.at("run.sh"), "kill 0"));  // it would end whoever called the script
  CHECK(has(files.at("systemd/baton-decode-3.service"), "On node-1"));
}

TEST_CASE("aggregated on CPUs: mixed daemons with memory of their own, no GPU named") {
  Choice c;
  c.replicas = 2, c.batch = 8;
  const auto files = deployment_files(
      c, plan_test::request(),
      {.model_directory = "/m", .served_name = "m", .device = "cpu", .kv_bytes_cpu = 1 << 30});
  CHECK(has(files.at("mixed-1.toml"), "role = \"mixed\""));
  CHECK(has(files.at("mixed-1.toml"), "kv_memory = \"1024M\""));
  for (const auto& [path, text] : files) {
    INFO(path);
    CHECK_FALSE(has(text, "CUDA"));
    CHECK_FALSE(has(text, "nvidia"));
  }
}

TEST_CASE("engines of several GPUs: each has neighbours of its own, everywhere") {
  Choice c = split_choice();  // two of prefill, four of decode
  c.replicas = 1, c.prefill_workers = 2, c.decode_workers = 1;
  c.prefill = {.tensor = 2}, c.decode = {.tensor = 4};
  const auto files = deployment_files(c, plan_test::request(), {.model_directory = "/m", .served_name = "m"});
  CHECK(has(files.at("prefill-0.toml"), "device = \"cuda\"\ntensor_parallel = 2\n"));
  CHECK(has(files.at("decode-0.toml"), "device = \"cuda\"\ntensor_parallel = 4\n"));
  CHECK(has(files.at("decode-0.toml"), "peers = [\"127.0.0.1:7000\", \"127.0.0.1:7001\"]"));
  // The widest first; ports in the order of the files.
  const std::string& script = files.at("run.sh");
  CHECK(has(script, "CUDA_VISIBLE_DEVICES=0,1,2,3 baton serve --config decode-0.toml --port 8002 &"));
  CHECK(has(script, "CUDA_VISIBLE_DEVICES=4,5 baton serve --config prefill-0.toml --port 8000 &"));
  CHECK(has(script, "CUDA_VISIBLE_DEVICES=6,7 baton serve --config prefill-1.toml --port 8001 &"));
  CHECK(has(files.at("systemd/baton-prefill-1.service"), "Environment=CUDA_VISIBLE_DEVICES=6,7\n"));
  CHECK(has(files.at("compose.yaml"), "device_ids: [\"0\", \"1\", \"2\", \"3\"]"));
  CHECK(has(files.at("compose.yaml"), "device_ids: [\"6\", \"7\"]"));
  CHECK(has(files.at("k8s/prefill.yaml"), "nvidia.com/gpu: 2}"));
  CHECK(has(files.at("k8s/prefill.yaml"), "tensor_parallel = 2\n"));
  CHECK(has(files.at("k8s/decode.yaml"), "nvidia.com/gpu: 4}"));
}

TEST_CASE("an engine never spans machines, and no GPU of a machine has two") {
  Choice c = split_choice();
  c.replicas = 1, c.prefill_workers = 5, c.decode_workers = 2;
  c.prefill = {.tensor = 1}, c.decode = {.tensor = 4};
  PlanRequest request = plan_test::request();  // eight GPUs each: 13 are needed
  const auto files = deployment_files(c, request, {.model_directory = "/m", .served_name = "m"});
  const std::string& script = files.at("run.sh");
  CHECK(has(script, "which machine: 0 to 1}"));
  CHECK(
      has(script, "!= 0 ] || { CUDA_VISIBLE_DEVICES=0,1,2,3 baton serve --config decode-0.toml --port 8000"));
  CHECK(
      has(script, "!= 0 ] || { CUDA_VISIBLE_DEVICES=4,5,6,7 baton serve --config decode-1.toml --port 8001"));
  CHECK(has(script, "!= 1 ] || { CUDA_VISIBLE_DEVICES=0 baton serve --config prefill-0.toml --port 8000"));
  CHECK(has(script, "!= 1 ] || { CUDA_VISIBLE_DEVICES=4 baton serve --config prefill-4.toml --port 8004"));
  CHECK(has(files.at("decode-0.toml"), "\"node-1:7000\", \"node-1:7001\""));
  CHECK(has(files.at("decode-0.toml"), "peer_listen = \"0.0.0.0:7000\""));

  request.decode.system.name = "another card", request.decode.system.node_gpus = 4;
  const auto apart = deployment_files(c, request, {.model_directory = "/m", .served_name = "m"});
  CHECK(has(apart.at("run.sh"), "!= 0 ] || { CUDA_VISIBLE_DEVICES=4 baton serve --config prefill-4.toml"));
  CHECK(
      has(apart.at("run.sh"), "!= 2 ] || { CUDA_VISIBLE_DEVICES=0,1,2,3 baton serve --config decode-1.toml"));
}
