#include "baton/transfer/ucx_transport.hpp"

#include <algorithm>
#include <random>
#include <utility>

#include "digest.hpp"
#include "listen_address.hpp"
#include "outgoing.hpp"
#include "receive_table.hpp"
#include "task_thread.hpp"
#include "ucx_address.hpp"
#include "ucx_context.hpp"
#include "ucx_network.hpp"

namespace baton {
namespace {

using namespace transfer;

Hash128 draw_identity() {
  std::random_device random;
  const auto word = [&] { return std::uint64_t{random()} << 32 | random(); };
  return {word(), word() | 1};  // never zero: that means "not yet known"
}

TransportOptions fitted(TransportOptions options, const UcxContext& context) {
  options.max_message_bytes = std::min(options.max_message_bytes, context.part_limit());
  const bool reached = options.direct || context.pool_is_on_gpu();
  options.direct = reached && options.memory != nullptr && (!options.digests || options.memory->hashes());
  return options;
}

// The facade: every call becomes a command to the transfer thread or an entry in the receive table.
class UcxTransport final : public KvTransport {
 public:
  UcxTransport(const UcxOptions& options, std::unique_ptr<UcxContext> context, Logger& logger)
      : context_(std::move(context)),
        options_(fitted(options.transport, *context_)),
        table_(options_, tasks_),
        network_({options_, *context_, table_, tasks_, logger, self_}) {}

  ~UcxTransport() override {
    table_.close_all();  // from here no part is admitted
    const bool clean = network_.stop();
    tasks_.stop();  // what it still holds are verifications and on_closed
    table_.close_all();
    // Not clean: UCX kept a receive. Its transfer is never called closed, since that could be a lie.
    if (clean) (void)table_.wait_until_empty(std::chrono::seconds(1));
  }

  Result<void> start() {
    const auto ip = parse_ip(options_.interface_address);
    if (!ip) return ip.error();
    const IpAddress listen = *ip;
    auto port = network_.start(listen);
    if (!port) return port.error();
    address_.sender = self_;
    address_.machine = machine_id();
    address_.port = *port;
    for (const Interface& interface : local_interfaces()) address_.sources.push_back(interface.address);
    if (!listen.any()) {
      address_.candidates = {listen};
    } else {
      for (const Interface& interface : local_interfaces())
        if (is_of_ucx(interface, local_interfaces()) && interface.address.family == listen.family)
          address_.candidates.push_back(interface.address);
    }
    if (address_.candidates.empty())
      return make_error(ErrorCode::unavailable, "no network interface is up", "interface_address");
    return {};
  }

  std::string name() const override { return "ucx"; }
  std::string link(const std::string& peer) const override { return network_.link(peer); }
  std::vector<std::byte> address() const override { return encode_ucx_address(address_); }

  Result<void> connect(const std::string& peer, std::span<const std::byte> address) override {
    auto parsed = parse_ucx_address(address);
    if (!parsed) return parsed.error();
    network_.connect(peer, std::move(*parsed));
    return {};
  }
  void disconnect(const std::string& peer) override { network_.disconnect(peer); }

  Result<void> expect(TransferId transfer, std::vector<ExpectedBlock> blocks,
                      std::shared_ptr<ReceiveSink> sink) override {
    return table_.expect(transfer, std::move(blocks), std::move(sink));
  }
  void close(TransferId transfer) override { table_.close(transfer); }
  void send(const std::string& peer, OutgoingBlock block, SendDone done) override {
    network_.send(std::make_shared<Outgoing>(peer, block, std::move(done), sends_));
  }

  std::optional<Hash128> content_digest(std::span<const std::byte> bytes) const override {
    if (!options_.digests || options_.memory != nullptr) return std::nullopt;
    return transfer::content_digest(bytes, options_.piece_bytes);
  }

  TransportCounters counters() const override {
    TransportCounters counters;
    counters.blocks_sent = sends_.blocks;
    counters.bytes_sent = sends_.bytes;
    counters.in_flight = sends_.in_flight;
    table_.add_counters(counters);
    return counters;
  }

 private:
  std::unique_ptr<UcxContext> context_;
  const TransportOptions options_;
  const Hash128 self_ = draw_identity();
  SendCounters sends_;
  TaskThread tasks_;
  ReceiveTable table_;
  UcxNetwork network_;
  UcxAddress address_;
};

}  // namespace

Result<std::unique_ptr<KvTransport>> make_ucx_transport(const UcxOptions& wanted, Logger& logger) {
  const std::string& interface_address = wanted.transport.interface_address;
  const auto listen = choose_listen_address(interface_address, local_interfaces());
  if (!listen) return listen.error();
  UcxOptions options = wanted;
  options.transport.interface_address = to_string(*listen);
  if (!interface_address.empty() && !listen->any() && *listen != *parse_ip(interface_address))
    logger.info("KV blocks travel over another address: UCX cannot use this one",
                {{"wanted", interface_address}, {"address", options.transport.interface_address}});
  auto context = UcxContext::make(options, logger);
  if (!context) return context.error();
  auto transport = std::make_unique<UcxTransport>(options, std::move(*context), logger);
  if (auto started = transport->start(); !started) return started.error();
  return std::unique_ptr<KvTransport>(std::move(transport));
}

}  // namespace baton
