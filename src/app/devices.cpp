#include "app/devices.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "baton/peer/address.hpp"
#include "baton/tensor/group.hpp"

namespace baton {
namespace {

constexpr const char* kPeerListen = "127.0.0.1:7000";  // where several daemons find each other by default
constexpr std::int32_t kLastPort = 65535;

Error bad(const std::string& flag, const std::string& why) {
  return make_error(ErrorCode::invalid_argument, flag + why, flag);
}

// "0" is GPU 0. No GPU may be there twice: two engines would both take --gpu-memory of it.
Result<std::vector<std::string>> parse_devices(const std::string& text) {
  if (text.empty()) return bad("--devices", ": name at least one, as 0,1 or cpu,cpu");
  std::vector<std::string> devices;
  std::set<std::int32_t> gpus;
  for (const std::string& part : split_commas(text)) {
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    devices.push_back(number ? "cuda:" + part : part);
    const auto choice = parse_device(devices.back(), "--devices");
    if (!choice) return choice.error();
    if (choice->gpu >= 0 && !gpus.insert(choice->gpu).second)
      return bad("--devices", " " + text + ": GPU " + std::to_string(choice->gpu) + " is there twice");
  }
  return devices;
}

// What a daemon computes on: `width` devices, from `device` on.
struct EngineDevices {
  std::string device;
  std::int32_t width = 1;
};

Error bad_width(const ServeOptions& o, const std::string& why) {
  return bad("--tensor-parallel", " " + o.tensor_parallel + ": " + why);
}

// One number for all engines, or one for each.
Result<std::vector<std::int32_t>> parse_widths(const ServeOptions& o, std::int32_t devices) {
  std::vector<std::int32_t> widths;
  std::int32_t sum = 0;
  for (const std::string& part : split_commas(o.tensor_parallel)) {
    const auto width = parse_tensor_parallel(part);
    if (!width) return bad_width(o, "'" + part + "' is no number from 1 to " + std::to_string(kMostRanks));
    widths.push_back(*width);
    sum += *width;
  }
  if (widths.size() == 1 && devices % sum == 0)
    widths.resize(static_cast<std::size_t>(devices / sum), widths.front());
  else if (sum != devices)
    return bad_width(o, "--devices names " + std::to_string(devices) + ", which cannot be shared out so");
  return widths;
}

Result<std::vector<EngineDevices>> parse_engines(const ServeOptions& o) {
  const auto devices = parse_devices(o.devices);
  if (!devices) return devices.error();
  const auto widths = parse_widths(o, static_cast<std::int32_t>(devices->size()));
  if (!widths) return widths.error();
  std::vector<EngineDevices> engines;
  std::size_t next = 0;
  for (const std::int32_t width : *widths) {
    const std::string& first = (*devices)[next];
    const std::int32_t gpu = parse_device(first)->gpu;
    if (width > 1 && first == "auto") return bad_width(o, "name the devices instead of auto");
    for (std::int32_t rank = 1; rank < width; ++rank) {
      const std::string& other = (*devices)[next + static_cast<std::size_t>(rank)];
      const std::string expected = gpu < 0 ? std::string("cpu") : "cuda:" + std::to_string(gpu + rank);
      if (other == expected) continue;
      std::string why = "the devices of an engine are GPUs that follow each other, or all cpu, but ";
      why.append(first).append(" is followed by ").append(other);
      return bad_width(o, why);
    }
    engines.push_back({first, width});
    next += static_cast<std::size_t>(width);
  }
  return engines;
}

Result<std::vector<std::string>> parse_roles(const std::string& text, std::size_t engines) {
  std::vector<std::string> roles = split_commas(text);
  if (roles.size() == 1) roles.resize(engines, roles.front());
  if (roles.size() == engines) return roles;
  return bad("--role", " " + text + ": " + std::to_string(roles.size()) + " roles for the " +
                           std::to_string(engines) +
                           " engines of --devices: give one for all, or one for each");
}

// The ports from `first` on, one for each daemon.
struct Ports {
  std::string flag;
  std::int32_t first = 0;
};

Result<void> check_ports(const std::vector<Ports>& all, std::int32_t count) {
  for (const Ports& ports : all) {
    const std::string given = " with port " + std::to_string(ports.first);
    if (ports.first == 0)
      return bad(ports.flag, given + ": with --devices, say which port is the first; the others follow it");
    if (ports.first + count - 1 > kLastPort)
      return bad(ports.flag, given + ": there are not " + std::to_string(count) + " ports from there on");
    for (const Ports& other : all) {
      if (&other == &ports) break;
      if (ports.first < other.first + count && other.first < ports.first + count)
        return bad(ports.flag, given + " and " + other.flag + " with port " + std::to_string(other.first) +
                                   ": with --devices, each takes " + std::to_string(count) +
                                   " ports, and some would be the same");
    }
  }
  return {};
}

// Addresses that each daemon has for itself. Only the port of `advertise` may be 0: what is bound counts.
struct Addresses {
  bool cluster = false;  // otherwise nobody listens at `peer`
  HostPort peer;
  std::optional<HostPort> admin, advertise;
};

Result<Addresses> parse_addresses(const ServeOptions& o, std::int32_t count) {
  Addresses addresses;
  std::vector<Ports> ports{{"--port", o.port}};
  addresses.cluster = count > 1 || has_cluster(o);
  const auto peer = parse_host_port(o.peer_listen.empty() ? kPeerListen : o.peer_listen);
  if (!peer) return bad("--peer-listen", ": " + peer.error().message);
  addresses.peer = *peer;
  if (addresses.cluster) ports.push_back({"--peer-listen", peer->port});
  if (!o.admin_listen.empty()) {
    const auto admin = parse_host_port(o.admin_listen);
    if (!admin) return bad("--admin-listen", ": " + admin.error().message);
    addresses.admin = *admin;
    ports.push_back({"--admin-listen", admin->port});
  }
  if (auto free = check_ports(ports, count); !free) return free.error();
  if (!o.advertise.empty()) {
    const auto advertise = parse_host_port(o.advertise);
    if (!advertise) return bad("--advertise", ": " + advertise.error().message);
    addresses.advertise = *advertise;
    if (auto room = check_ports({{"--advertise", std::max<std::int32_t>(1, advertise->port)}}, count); !room)
      return room.error();
  }
  return addresses;
}

std::string counted_up(HostPort address, std::size_t by) {
  if (address.port != 0) address.port = static_cast<std::uint16_t>(address.port + by);
  return to_string(address);
}

// What a daemon of this machine dials to reach another one.
std::string dialed(HostPort address, std::size_t by) {
  if (address.host == "0.0.0.0") address.host = "127.0.0.1";
  if (address.host == "::") address.host = "::1";
  return counted_up(std::move(address), by);
}

// Of a size: "10%" for two is "5%" for each; "8G" is meant for each.
std::string part_of(const std::string& size, double parts) {
  if (parts <= 1 || !size.ends_with('%')) return size;
  char text[32];
  std::snprintf(text, sizeof text, "%.6f%%", std::strtod(size.c_str(), nullptr) / parts);
  return text;
}

}  // namespace

Result<std::string> devices_here(const std::string& devices) {
  if (devices != "all") return devices;
  const auto gpus = list_gpus();
  if (!gpus) return bad("--devices", " all: " + gpus.error().message);
  std::string numbers;
  for (std::size_t gpu = 0; gpu < gpus->size(); ++gpu)
    numbers += (numbers.empty() ? "" : ",") + std::to_string(gpu);
  return numbers;
}

Result<std::vector<ServeOptions>> options_for_devices(const ServeOptions& options, unsigned cores) {
  const auto engines = parse_engines(options);
  if (!engines) return engines.error();
  const std::size_t count = engines->size();
  const auto roles = parse_roles(options.role, count);
  if (!roles) return roles.error();
  const auto addresses = parse_addresses(options, static_cast<std::int32_t>(count));
  if (!addresses) return addresses.error();
  // `auto` may come to be the CPU. What its engines share goes by their widths.
  std::int32_t on_host = 0;
  for (const EngineDevices& engine : *engines)
    if (!engine.device.starts_with("cuda")) on_host += engine.width;

  std::vector<ServeOptions> all;
  for (std::size_t i = 0; i < count; ++i) {
    ServeOptions o = options;
    o.devices.clear();
    o.device = (*engines)[i].device;
    o.tensor_parallel = std::to_string((*engines)[i].width);
    o.exit_on_device_failure = true;  // the supervisor starts it again
    o.role = (*roles)[i];
    o.port += static_cast<std::int32_t>(i);
    if (!o.node_name.empty()) o.node_name += '-' + std::to_string(i);
    if (addresses->admin) o.admin_listen = counted_up(*addresses->admin, i);
    if (addresses->advertise) o.advertise = counted_up(*addresses->advertise, i);
    if (addresses->cluster) o.peer_listen = counted_up(addresses->peer, i);
    for (std::size_t other = 0; other < count; ++other)
      if (other != i) o.peers.push_back(dialed(addresses->peer, other));
    const std::int32_t width = (*engines)[i].width;
    o.kv_memory = part_of(o.kv_memory, static_cast<double>(on_host) / width);
    o.index_memory = part_of(o.index_memory, static_cast<double>(count));
    if (o.threads == 0 && on_host > width)
      o.threads = std::max(1, static_cast<std::int32_t>(cores) * width / on_host);
    if (auto checked = check(o); !checked) return checked.error();
    all.push_back(std::move(o));
  }
  return all;
}

}  // namespace baton
