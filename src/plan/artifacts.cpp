#include "baton/plan/artifacts.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "plan/table.hpp"

namespace baton {
namespace {

constexpr int kHttpPort = 8000, kPeerPort = 7000;

// A string of TOML, YAML and JSON alike.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

struct DaemonFile {
  std::string name, role;
  int width = 1;  // GPUs that share its layers
  int machine = 0;
  int gpu = 0, slot = 0;  // there: its first GPU, its ports
};

// One machine after the other, as many GPUs as each has; the widest engines come first, so that powers of two
// leave no gap. Returns the first machine that is still empty.
int place(std::vector<DaemonFile*> daemons, int machine, int gpus) {
  std::ranges::stable_sort(daemons, std::greater<>{}, &DaemonFile::width);
  std::vector<int> used;  // of each machine, from `machine` on
  for (DaemonFile* daemon : daemons) {
    std::size_t at = 0;
    while (at < used.size() && used[at] + daemon->width > gpus) ++at;
    if (at == used.size()) used.push_back(0);
    daemon->machine = machine + static_cast<int>(at);
    daemon->gpu = used[at];
    used[at] += daemon->width;
  }
  return machine + static_cast<int>(used.size());
}

// On CPUs all stand on one machine, where they can be tried.
void place_all(std::vector<DaemonFile>& all, const PlanRequest& request, const DeploymentNames& names) {
  const auto room = [&](const SystemSpec& system) {
    return names.device == "cuda" ? std::max(1, static_cast<int>(system.node_gpus)) : 1 << 30;
  };
  const bool elsewhere = request.prefill.system.name != request.decode.system.name;
  std::vector<DaemonFile*> first, decode;  // `decode`: on a system of their own
  for (DaemonFile& daemon : all) (elsewhere && daemon.role == "decode" ? decode : first).push_back(&daemon);
  const int next = place(std::move(first), 0, room(request.prefill.system));
  place(std::move(decode), next, room(request.decode.system));
  std::map<int, int> slots;
  for (DaemonFile& daemon : all) daemon.slot = slots[daemon.machine]++;
}

std::vector<DaemonFile> daemons_of(const Choice& choice, const PlanRequest& request,
                                   const DeploymentNames& names) {
  std::vector<DaemonFile> all;
  const auto add = [&](const char* role, const Split& split, int count) {
    for (int i = 0; i < count; ++i)
      all.push_back({std::string(role) + "-" + std::to_string(i), role, split.tensor});
  };
  if (!choice.disaggregated) {
    add("mixed", choice.split, choice.replicas);
  } else {
    add("prefill", choice.prefill, choice.replicas * choice.prefill_workers);
    add("decode", choice.decode, choice.replicas * choice.decode_workers);
  }
  place_all(all, request, names);
  return all;
}

// "2,3"
std::string gpus_of(const DaemonFile& daemon, const std::string& separator = ",") {
  std::string list;
  for (int i = 0; i < daemon.width; ++i)
    list += (list.empty() ? "" : separator) + std::to_string(daemon.gpu + i);
  return list;
}

int last_machine(const std::vector<DaemonFile>& all) {
  return std::ranges::max(all, {}, &DaemonFile::machine).machine;
}
bool on_one_machine(const std::vector<DaemonFile>& all) { return last_machine(all) == 0; }
std::string machine_name(int machine) { return "node-" + std::to_string(machine); }

// fp8 that the checkpoint does not have as the engine wants it: a scale for each output.
bool is_quantised_at_load(const EngineSetup& engine) {
  return engine.weights == Precision::fp8 &&
         (engine.model.stored != Precision::fp8 || engine.model.block_scales);
}

std::string settings(const DaemonFile& daemon, const Choice& choice, const PlanRequest& request,
                     const DeploymentNames& names, const std::string& peers) {
  const bool gpu = names.device == "cuda";
  const EngineLimits limits = engine_limits(choice, request, daemon.role);
  std::string text = "# Written by baton plan: " + request.prefill.system.name + ", ISL " +
                     fixed(request.load.input, 0) + ", OSL " + fixed(request.load.output, 0) + ".\n";
  text += "[model]\npath = " + quoted(names.model_directory) + "\nserved_names = [" +
          quoted(names.served_name) + "]\n";
  if (names.max_context > 0) text += "max_context = " + std::to_string(names.max_context) + "\n";
  text += "\n[engine]\nrole = \"" + daemon.role + "\"\ndevice = \"" + names.device + "\"\n";
  if (is_quantised_at_load(daemon.role == "decode" ? request.decode : request.prefill))
    text += "quantization = \"fp8\"\n";
  if (daemon.width > 1) text += "tensor_parallel = " + std::to_string(daemon.width) + "\n";
  if (gpu)
    text += "gpu_memory = \"90%\"\nkv_dtype = \"" + std::string(to_string(request.prefill.kv)) + "\"\n";
  else if (names.kv_bytes_cpu > 0)
    text += "kv_memory = \"" + fixed(names.kv_bytes_cpu / (1 << 20), 0) + "M\"\n";
  text += "max_sequences = " + std::to_string(limits.sequences) +
          "\nmax_batch_tokens = " + std::to_string(limits.batch_tokens) + "\n";
  text += "\n[cluster]\nnode_name = \"" + daemon.name + "\"\n" + peers;
  if (!names.rdma_resource.empty())
    text += std::string("\n[ucx]\nTLS = \"rc_x,dc_x,tcp,self") + (gpu ? ",cuda_copy,gdr_copy" : "") +
            "\"\nRNDV_SCHEME = \"get_zcopy\"\nRNDV_THRESH = \"0\"\n";
  text += "\n[router]\npolicy = \"kv\"\n";
  if (request.ttft > 0) text += "ttft_target = \"" + fixed(request.ttft * 1e3, 0) + "ms\"\n";
  if (request.tpot > 0) text += "itl_target = \"" + fixed(std::ceil(request.tpot * 1e3), 0) + "ms\"\n";
  return text;
}

// On one machine: loopback, ports beside each other. On several: their names, and a secret.
std::string peers_of(const std::vector<DaemonFile>& all, const DaemonFile& self) {
  const bool alone = on_one_machine(all);
  std::string peers;
  for (const DaemonFile& other : all) {
    if (other.name == self.name) break;  // each pair is dialed once
    peers += (peers.empty() ? "" : ", ") + std::string("\"") +
             (alone ? "127.0.0.1" : machine_name(other.machine)) + ":" +
             std::to_string(kPeerPort + other.slot) + "\"";
  }
  std::string text =
      alone ? ""
            : "# " + self.name + " runs on " + machine_name(self.machine) +
                  ": names for your DNS or /etc/hosts.\nsecret_file = \"/etc/baton/cluster-secret\"\n";
  text += std::string("peer_listen = \"") + (alone ? "127.0.0.1" : "0.0.0.0") + ":" +
          std::to_string(kPeerPort + self.slot) + "\"\n";
  return text + (peers.empty() ? "" : "peers = [" + peers + "]\n");
}

std::string run_script(const std::vector<DaemonFile>& all, const DeploymentNames& names) {
  const bool alone = on_one_machine(all);
  std::string text = "#!/usr/bin/env bash\n";
  text += alone ? "# All daemons on this machine, each on GPUs of its own"
                : "# run.sh N: the daemons of machine node-N, each on GPUs of its own";
  text +=
      "; Ctrl-C ends them. Clients may talk to any of them.\n"
      "set -euo pipefail\ncd \"$(dirname \"$0\")\"\n"
      "trap 'trap - EXIT INT TERM; kill $(jobs -p) 2>/dev/null || true; wait; exit' EXIT INT TERM\n";
  if (!alone) text += "machine=${1:?which machine: 0 to " + std::to_string(last_machine(all)) + "}\n";
  for (const DaemonFile& d : all) {
    if (!alone) text += "[ \"$machine\" != " + std::to_string(d.machine) + " ] || { ";
    if (names.device == "cuda") text.append("CUDA_VISIBLE_DEVICES=").append(gpus_of(d)).append(" ");
    text += "baton serve --config " + d.name + ".toml --port " + std::to_string(kHttpPort + d.slot) +
            (alone ? " &\n" : " & }\n");
  }
  return text + "wait\n";
}

std::string compose_file(const std::vector<DaemonFile>& all, const DeploymentNames& names) {
  std::string text =
      "# export BATON_CLUSTER_SECRET=$(openssl rand -hex 32); docker compose up\n"
      "# Port 8000 of the first service answers; every other one would, too.\nservices:\n";
  std::string model;  // $ begins a variable there
  for (const char c : names.model_directory) {
    if (c == '$') model += c;
    model += c;
  }
  const std::string mount = quoted(model + ":" + model + ":ro");
  for (const DaemonFile& d : all) {
    text += "  " + d.name + ":\n    image: baton:latest\n    command: serve --config /etc/baton/" + d.name +
            ".toml --host 0.0.0.0 --peer-listen 0.0.0.0:7000";
    for (const DaemonFile& other : all) {
      if (other.name == d.name) break;
      text += " --peer " + other.name + ":7000";
    }
    text += " --cluster-secret-file /run/secrets/cluster --insecure\n    volumes: [\"./" + d.name +
            ".toml:/etc/baton/" + d.name + ".toml:ro\", " + mount +
            "]\n    secrets: [cluster]\n    ulimits: {memlock: -1}\n";
    if (d.slot == 0) text += "    ports: [\"127.0.0.1:8000:8000\"]\n";
    if (names.device == "cuda")
      text += "    deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: [\"" +
              gpus_of(d, "\", \"") + "\"], capabilities: [gpu]}]}}}\n";
  }
  return text + "secrets:\n  cluster:\n    environment: BATON_CLUSTER_SECRET\n";
}

std::string systemd_unit(const DaemonFile& d, const DeploymentNames& names, bool alone) {
  std::string text = (alone ? "# " : "# On " + machine_name(d.machine) + ": ") +
                     "/etc/systemd/system/baton-" + d.name + ".service; its settings go to /etc/baton/" +
                     d.name + ".toml\n[Unit]\nDescription=Baton, " + d.name +
                     "\nAfter=network-online.target\nWants=network-online.target\n\n[Service]\nType=exec\n";
  if (names.device == "cuda") text += "Environment=CUDA_VISIBLE_DEVICES=" + gpus_of(d) + "\n";
  return text + "ExecStart=/usr/bin/baton serve --config /etc/baton/" + d.name + ".toml --port " +
         std::to_string(kHttpPort + d.slot) +
         "\nExecReload=/bin/kill -HUP "
         "$MAINPID\nTimeoutStopSec=75\nKillMode=mixed\nRestart=on-failure\nRestartSec=2\n"
         "DynamicUser=yes\nLimitMEMLOCK=infinity\nLimitNOFILE=65536\nNoNewPrivileges=yes\nProtectSystem="
         "strict\n"
         "PrivateTmp=yes\n\n[Install]\nWantedBy=multi-user.target\n";
}

// GPUs, and as many RDMA devices, for which memory must be locked.
std::string kubernetes_devices(const DaemonFile& daemon, const DeploymentNames& names) {
  const std::string count = ": " + std::to_string(daemon.width);
  std::string limits = names.device == "cuda" ? "nvidia.com/gpu" + count : "";
  if (!names.rdma_resource.empty()) limits += (limits.empty() ? "" : ", ") + names.rdma_resource + count;
  std::string text = limits.empty() ? "" : "        resources: {limits: {" + limits + "}}\n";
  if (!names.rdma_resource.empty()) text += "        securityContext: {capabilities: {add: [IPC_LOCK]}}\n";
  return text;
}

// One role: pods like `any` that find each other by the headless service's name.
std::string kubernetes_role(const DaemonFile& any, int count, const std::string& config,
                            const DeploymentNames& names) {
  const std::string& role = any.role;
  std::string indented = "    ";
  for (const char c : config) indented += c == '\n' ? std::string("\n    ") : std::string(1, c);
  while (!indented.empty() && indented.back() == ' ') indented.pop_back();
  const std::string name = "baton-" + role;
  std::string text =
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata:\n  baton.toml: |\n" + indented +
      "---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: " + name +
      "}\nspec:\n  serviceName: baton-peers\n  podManagementPolicy: Parallel\n  replicas: " +
      std::to_string(count) + "\n  selector: {matchLabels: {app: baton, role: " + role +
      "}}\n  template:\n    metadata: {labels: {app: baton, role: " + role +
      "}}\n    spec:\n      terminationGracePeriodSeconds: 75\n      containers:\n      - name: baton\n      "
      "  image: "
      "baton:latest\n        args: [serve, --config, /etc/baton/baton.toml, --node-name, $(POD), --host, "
      "0.0.0.0, "
      "--peer-listen, \"0.0.0.0:7000\", --dns, \"baton-peers:7000\", --cluster-secret-file, "
      "/etc/baton-secret/secret, "
      "--insecure]\n        env:\n        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}\n "
      "       ports:\n"
      "        - {name: http, containerPort: 8000}\n        - {name: peer, containerPort: 7000}\n"
      "        readinessProbe: {httpGet: {path: /health/ready, port: http}}\n"
      "        livenessProbe: {httpGet: {path: /health/live, port: http}}\n";
  text += kubernetes_devices(any, names);
  return text +
         "        volumeMounts:\n        - {name: config, mountPath: /etc/baton}\n        - {name: secret, "
         "mountPath: /etc/baton-secret}\n"
         "        - {name: models, mountPath: " +
         quoted(names.model_directory) +
         ", readOnly: true}\n      volumes:\n"
         "      - {name: config, configMap: {name: " +
         name +
         "}}\n      - {name: secret, secret: {secretName: baton-cluster}}\n"
         "      - {name: models, persistentVolumeClaim: {claimName: model-cache, readOnly: true}}\n";
}

std::string kubernetes_services() {
  return "# kubectl create secret generic baton-cluster --from-literal=secret=$(openssl rand -hex 32)\n"
         "# The claim model-cache holds the checkpoint.\n"
         "apiVersion: v1\nkind: Service\nmetadata: {name: baton-peers}\nspec:\n  clusterIP: None\n  "
         "publishNotReadyAddresses: true\n"
         "  selector: {app: baton}\n  ports: [{name: peer, port: 7000}]\n---\napiVersion: v1\nkind: Service\n"
         "metadata: {name: baton}\nspec:\n  selector: {app: baton}\n  ports: [{name: http, port: 8000, "
         "targetPort: http}]\n";
}

}  // namespace

// Rows of a step: a whole prompt where prefill stands alone, a part of one where others' tokens wait for it.
// More sequences than planned, for bursts.
EngineLimits engine_limits(const Choice& choice, const PlanRequest& request, std::string_view role) {
  if (role == "prefill") {
    const int whole = choice.prefill_batch * static_cast<int>(request.load.input);
    return {4 * choice.prefill_batch, std::clamp(whole, 512, 16384)};
  }
  return {static_cast<int>(std::ceil(1.25 * choice.batch)),
          choice.chunk > 0 ? choice.chunk : std::clamp(choice.batch * 2, 512, 2048)};
}

std::map<std::string, std::string> deployment_files(const Choice& choice, const PlanRequest& request,
                                                    const DeploymentNames& names) {
  const std::vector<DaemonFile> all = daemons_of(choice, request, names);
  std::map<std::string, std::string> files;
  std::map<std::string, int> counts;
  for (const DaemonFile& d : all) {
    files[d.name + ".toml"] = settings(d, choice, request, names, peers_of(all, d));
    files["systemd/baton-" + d.name + ".service"] = systemd_unit(d, names, on_one_machine(all));
    ++counts[d.role];
  }
  files["run.sh"] = run_script(all, names);
  if (on_one_machine(all)) files["compose.yaml"] = compose_file(all, names);  // it knows one machine
  files["k8s/services.yaml"] = kubernetes_services();
  for (const auto& [role, count] : counts) {
    const auto first = std::ranges::find(all, role, &DaemonFile::role);
    DaemonFile any = *first;
    any.name.clear();
    std::string config = settings(any, choice, request, names, "");
    if (const std::size_t at = config.find("node_name = \"\"\n"); at != std::string::npos)
      config.erase(at, 15);
    files["k8s/" + role + ".yaml"] = kubernetes_role(any, count, config, names);
  }
  return files;
}

}  // namespace baton
