#include "ucx_network.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "listen_address.hpp"
#include "listener_drain.hpp"
#include "ucx_link_name.hpp"

namespace baton::transfer {
namespace {

constexpr unsigned kMessageId = 7;
constexpr std::size_t kSendWindow = 8;  // blocks to one peer that are digested or on the wire: few enough
                                        // that what was digested is still in the cache when it is sent
constexpr std::size_t kMaxEndpoints = 4096;      // incoming connections beyond it are rejected
constexpr int kProgressCalls = 200;              // between two looks at the command queue
constexpr int kSleepMilliseconds = 200;          // a safety net; events end the sleep
constexpr std::chrono::microseconds kSpin{100};  // after traffic: sleeping and waking cost 40 % of the rate
constexpr std::chrono::milliseconds kHandshakeGrace{25};
constexpr std::chrono::seconds kShutDownLimit{5};  // for UCX to let go of cancelled operations

Error not_connected(const std::string& peer) {
  return make_error(ErrorCode::unavailable, "peer '" + peer + "' is not connected");
}

}  // namespace

struct UcxNetwork::Endpoint {
  UcxNetwork* network = nullptr;
  ucp_ep_h ep = nullptr;
  std::string peer;     // of an outgoing connection
  SourceId source = 0;  // of an incoming one
  Hash128 sender{};     // likewise, once a part said so
  bool incoming = false;
  ucs_status_t error = UCS_OK;
  void* close_request = nullptr;
  std::size_t operations = 0;  // sends and receives that UCX has not completed
};

struct UcxNetwork::Link {
  std::string peer;
  Hash128 sender;
  Endpoint* out = nullptr;  // null once it failed or was cut
  std::deque<std::shared_ptr<Outgoing>> waiting;
  std::size_t window = 0;
  bool named = false;
};

struct UcxNetwork::BlockSend {
  UcxNetwork* network = nullptr;
  std::shared_ptr<Link> link;
  std::shared_ptr<Outgoing> outgoing;
  Endpoint* endpoint = nullptr;
  std::vector<std::array<std::byte, kPartHeaderBytes>> headers;  // UCX reads them until a part completes
  std::size_t pending = 0;
  std::optional<Error> failure;
};

struct UcxNetwork::Receive {
  UcxNetwork* network = nullptr;
  Endpoint* endpoint = nullptr;
  ReceiveTable::Landing landing;
};

UcxNetwork::UcxNetwork(const Parts& parts) : parts_(parts) {}

UcxNetwork::~UcxNetwork() { stop(); }

Result<std::uint16_t> UcxNetwork::start(const IpAddress& listen) {
  const std::set<int> others = SourceFilter::listening_sockets();
  auto worker = UcxWorker::make(parts_.context);
  if (!worker) return worker.error();
  worker_ = std::move(*worker);
  listen_ = listen;
  std::set<int> opened = SourceFilter::listening_sockets();
  std::erase_if(opened, [&](int fd) { return others.contains(fd); });
  if (auto right = check_tcp_sockets(opened, listen); !right) return right.error();

  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                       UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kMessageId;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.cb = on_am;
  handler.arg = this;
  if (const auto status = ucp_worker_set_am_recv_handler(worker_->get(), &handler); status != UCS_OK)
    return ucx_error(ErrorCode::unavailable, "UCX active messages", status);

  const sockaddr_storage address = to_sockaddr(listen, 0);
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr.addr = reinterpret_cast<const sockaddr*>(&address);
  params.sockaddr.addrlen = sizeof address;
  params.conn_handler = {on_connection, this};
  if (const auto status = ucp_listener_create(worker_->get(), &params, &listener_); status != UCS_OK)
    return ucx_error(ErrorCode::io, "UCX cannot listen on this interface", status);
  ucp_listener_attr_t attributes{};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  if (const auto status = ucp_listener_query(listener_, &attributes); status != UCS_OK)
    return ucx_error(ErrorCode::io, "UCX listener", status);
  const auto* bound = reinterpret_cast<const sockaddr*>(&attributes.sockaddr);
  const std::uint16_t port = bound->sa_family == AF_INET
                                 ? reinterpret_cast<const sockaddr_in*>(bound)->sin_port
                                 : reinterpret_cast<const sockaddr_in6*>(bound)->sin6_port;
  listener_port_ = ntohs(port);
  // Bound to loopback, nobody but this machine's processes can come anyway.
  if (!listen.loopback()) {
    opened = SourceFilter::listening_sockets();
    std::erase_if(opened, [&](int fd) { return others.contains(fd); });
    filter_.guard(std::move(opened));
  }
  thread_ = std::thread([this] { run(); });
  return listener_port_;
}

bool UcxNetwork::stop() {
  stopping_ = true;
  if (worker_) worker_->wake();
  if (thread_.joinable()) thread_.join();
  if (listener_ != nullptr) ucp_listener_destroy(listener_);  // the thread never ran
  listener_ = nullptr;
  worker_.reset();
  return clean_;
}

void UcxNetwork::post(std::function<void()> command, std::function<void()> if_stopped) {
  {
    std::lock_guard lock(mutex_);
    if (!stopped_) {
      commands_.push_back(std::move(command));
      // Under the lock: once the command is seen, the thread may end and stop() release the worker.
      worker_->wake();
      return;
    }
  }
  if (if_stopped) if_stopped();
}

bool UcxNetwork::has_commands() const {
  std::lock_guard lock(mutex_);
  return !commands_.empty();
}

void UcxNetwork::connect(std::string peer, UcxAddress address) {
  post([this, peer = std::move(peer), address = std::move(address)] { open_link(peer, address); });
}

void UcxNetwork::disconnect(std::string peer) {
  post([this, peer = std::move(peer)] { cut(peer); });
}

void UcxNetwork::send(std::shared_ptr<Outgoing> outgoing) {
  post([this, outgoing] { enqueue(outgoing); },
       [outgoing] { outgoing->finish(not_connected(outgoing->peer())); });
}

std::string UcxNetwork::link(const std::string& peer) const {
  std::lock_guard lock(mutex_);
  const auto found = link_texts_.find(peer);
  return found == link_texts_.end() ? "ucx" : "ucx/" + found->second;
}

// ---- the transfer thread ----

void UcxNetwork::run() {
  while (!stopping_) turn();
  shut_down();
}

void UcxNetwork::turn() {
  run_commands();
  bool moved = false;
  for (int i = 0; i < kProgressCalls; ++i) {
    const bool progressed = worker_->progress() > 0;
    reap();
    if (!progressed) break;
    moved = true;
  }
  const auto now = std::chrono::steady_clock::now();
  if (moved) last_moved_ = now;
  if (now - last_moved_ < kSpin) {
    std::this_thread::yield();
    return;
  }
  worker_->sleep(kSleepMilliseconds, [this] { return stopping_ || has_commands(); });
}

void UcxNetwork::run_commands() {
  std::vector<std::function<void()>> commands;
  {
    std::lock_guard lock(mutex_);
    commands.swap(commands_);
  }
  for (auto& command : commands) command();
}

// What UCX's callbacks left behind, dealt with outside of them.
void UcxNetwork::reap() {
  while (!sent_.empty()) {
    auto sent = std::exchange(sent_, {});
    for (const auto& block : sent) {
      --block->endpoint->operations;
      --sending_;
      if (!block->failure && !block->link->named && block->link->out == block->endpoint)
        learn_link(*block->link, block->endpoint->ep);
      finish_send(block->link, *block->outgoing,
                  block->failure ? Result<void>(*block->failure) : Result<void>());
    }
  }
  for (Endpoint* endpoint : std::exchange(failed_, {})) {
    if (!endpoints_.contains(endpoint->ep)) continue;  // already being closed
    parts_.logger.info("UCX connection lost", {{"peer", endpoint->peer},
                                               {"direction", endpoint->incoming ? "in" : "out"},
                                               {"reason", ucs_status_string(endpoint->error)}});
    close_endpoint(*endpoint);
  }
  if (!requests_.empty()) accept_requests();
  std::erase_if(closing_, [](const std::unique_ptr<Endpoint>& endpoint) {
    if (endpoint->close_request != nullptr) {
      if (ucp_request_check_status(endpoint->close_request) == UCS_INPROGRESS) return false;
      ucp_request_free(endpoint->close_request);
      endpoint->close_request = nullptr;
    }
    return endpoint->operations == 0;
  });
}

bool UcxNetwork::quiet() const {
  return digesting_ == 0 && sending_ == 0 && receiving_ == 0 && closing_.empty();
}

void UcxNetwork::shut_down() {
  // Handshakes under way may end first. Closed in their midst, UCX 1.13 may give an event that it had noted
  // for the old socket to a new one with the same descriptor, and stop at an assertion.
  while (std::chrono::steady_clock::now() < last_opened_ + kHandshakeGrace) {
    run_commands();
    if (worker_->progress() == 0) worker_->sleep(1, [this] { return has_commands(); });
    reap();
  }
  for (const auto& [peer, link] : links_) drop_link(*link);
  while (!endpoints_.empty()) close_endpoint(*endpoints_.begin()->second);
  const ListenerDrain drain(listener_port_);
  const auto limit = std::chrono::steady_clock::now() + kShutDownLimit;
  int idle = 0;  // closed connections are torn down by progress, some turns after their operations ended
  bool drained = false;
  while (!quiet() || has_commands() || idle < 10 || !drained) {
    run_commands();
    const bool moved = worker_->progress() > 0;
    reap();
    idle = moved ? 0 : idle + 1;
    drained = quiet() && requests_.empty() && drain.drained();
    if (!moved) worker_->sleep(1, [this] { return has_commands(); });
    // Digests end by themselves; only UCX can keep us waiting.
    if (digesting_ == 0 && std::chrono::steady_clock::now() > limit) break;
  }
  std::vector<std::function<void()>> late;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    late.swap(commands_);
  }
  for (auto& command : late) command();  // sends among them end with unavailable: no link is left
  clean_ = quiet() && drained;
  if (!clean_) {
    parts_.logger.error("UCX did not complete cancelled operations; its worker is left behind",
                        {{"sends", sending_}, {"receives", receiving_}, {"handshakes", !drained}});
    worker_->leak();
    parts_.context.leak();
    listener_ = nullptr;  // left behind as well
  }
  if (listener_ != nullptr) ucp_listener_destroy(std::exchange(listener_, nullptr));
}

// ---- connections ----

void UcxNetwork::accept_requests() {
  for (ucp_conn_request_h request : std::exchange(requests_, {})) {
    if (endpoints_.size() >= kMaxEndpoints || stopping_) {
      if (listener_ != nullptr) ucp_listener_reject(listener_, request);
      continue;
    }
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
    params.conn_request = request;
    Endpoint* endpoint = open_endpoint(params);
    if (endpoint == nullptr) continue;
    endpoint->incoming = true;
    endpoint->source = ++last_source_;
  }
}

UcxNetwork::Endpoint* UcxNetwork::open_endpoint(ucp_ep_params_t& params) {
  auto endpoint = std::make_unique<Endpoint>();
  endpoint->network = this;
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {on_endpoint_error, endpoint.get()};
  if (const auto status = ucp_ep_create(worker_->get(), &params, &endpoint->ep); status != UCS_OK) {
    parts_.logger.warn("UCX connection refused", {{"reason", ucs_status_string(status)}});
    return nullptr;
  }
  last_opened_ = std::chrono::steady_clock::now();
  Endpoint* opened = endpoint.get();
  endpoints_[opened->ep] = std::move(endpoint);
  return opened;
}

// Cancels what is under way on it. UCX completes each of those operations, with an error, once the connection
// is gone; until then the Endpoint stays in closing_.
void UcxNetwork::close_endpoint(Endpoint& endpoint) {
  const auto found = endpoints_.find(endpoint.ep);
  closing_.push_back(std::move(found->second));
  endpoints_.erase(found);
  if (endpoint.incoming) {
    parts_.table.abandon(endpoint.source);
  } else if (const auto link = links_.find(endpoint.peer);
             link != links_.end() && link->second->out == &endpoint) {
    drop_link(*link->second);
  }
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  const ucs_status_ptr_t request = ucp_ep_close_nbx(endpoint.ep, &param);
  if (UCS_PTR_IS_PTR(request)) endpoint.close_request = request;
}

void UcxNetwork::open_link(const std::string& peer, const UcxAddress& address) {
  // The same peer again: only our way to it is new. Its own connection to us may be at work.
  const auto known = links_.find(peer);
  if (known != links_.end() && known->second->sender == address.sender) {
    if (Endpoint* out = known->second->out; out != nullptr) close_endpoint(*out);
  } else {
    cut(peer);
  }
  auto link = std::make_shared<Link>();
  link->peer = peer;
  link->sender = address.sender;
  links_[peer] = link;
  refused_.erase(address.sender);
  const auto candidate = choose_candidate(address, machine_id(), local_interfaces(), listen_.family);
  std::vector<IpAddress> sources = address.sources;
  sources.insert(sources.end(), address.candidates.begin(), address.candidates.end());
  filter_.allow(peer, std::move(sources));
  if (!candidate || stopping_) {
    parts_.logger.warn("no address of this peer can be reached: its KV blocks are computed again",
                       {{"peer", peer}, {"our_address", to_string(listen_)}});
    return;
  }
  const sockaddr_storage remote = to_sockaddr(*candidate, address.port);
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr.addr = reinterpret_cast<const sockaddr*>(&remote);
  params.sockaddr.addrlen = sizeof remote;
#if UCP_API_VERSION >= UCP_VERSION(1, 13)
  // The peer connects back to where we seem to come from, and there UCX's own port must be.
  const sockaddr_storage local = to_sockaddr(listen_, 0);
  if (!listen_.any()) {
    params.field_mask |= UCP_EP_PARAM_FIELD_LOCAL_SOCK_ADDR;
    params.local_sockaddr.addr = reinterpret_cast<const sockaddr*>(&local);
    params.local_sockaddr.addrlen = listen_.family == 4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  }
#endif
  link->out = open_endpoint(params);
  if (link->out != nullptr) link->out->peer = peer;
}

void UcxNetwork::cut(const std::string& peer) {
  const auto found = links_.find(peer);
  if (found == links_.end()) return;
  const std::shared_ptr<Link> link = found->second;
  refused_.insert(link->sender);
  if (Endpoint* out = link->out; out != nullptr) close_endpoint(*out);
  std::vector<Endpoint*> incoming;
  for (const auto& [ep, endpoint] : endpoints_)
    if (endpoint->incoming && endpoint->sender == link->sender) incoming.push_back(endpoint.get());
  for (Endpoint* endpoint : incoming) close_endpoint(*endpoint);
  links_.erase(peer);
  filter_.forget(peer);
}

void UcxNetwork::drop_link(Link& link) {
  link.out = nullptr;
  for (const auto& outgoing : std::exchange(link.waiting, {})) outgoing->finish(not_connected(link.peer));
}

// ---- sending ----

void UcxNetwork::enqueue(std::shared_ptr<Outgoing> outgoing) {
  if (auto valid = outgoing->check(parts_.options); !valid) return outgoing->finish(std::move(valid));
  const auto found = links_.find(outgoing->peer());
  if (found == links_.end() || found->second->out == nullptr)
    return outgoing->finish(not_connected(outgoing->peer()));
  found->second->waiting.push_back(std::move(outgoing));
  pump(found->second);
}

void UcxNetwork::pump(const std::shared_ptr<Link>& link) {
  const TransportOptions& options = parts_.options;
  while (link->window < kSendWindow && !link->waiting.empty()) {
    std::shared_ptr<Outgoing> outgoing = std::move(link->waiting.front());
    link->waiting.pop_front();
    ++link->window;
    ++digesting_;
    if (outgoing->quick(options)) {
      start_send(link, outgoing, outgoing->prepare(options, parts_.self));
      continue;
    }
    parts_.tasks.post([this, link, outgoing] {
      const Outgoing::Verdict verdict = outgoing->prepare(parts_.options, parts_.self);
      post([this, link, outgoing, verdict] { start_send(link, outgoing, verdict); });
    });
  }
}

void UcxNetwork::start_send(const std::shared_ptr<Link>& link, std::shared_ptr<Outgoing> outgoing,
                            Outgoing::Verdict verdict) {
  --digesting_;
  if (verdict == Outgoing::Verdict::lost) return finish_send(link, *outgoing, {});
  if (verdict == Outgoing::Verdict::refused) return finish_send(link, *outgoing, outgoing->refusal());
  if (link->out == nullptr) return finish_send(link, *outgoing, not_connected(link->peer));

  auto block = std::make_unique<BlockSend>();
  block->network = this;
  block->link = link;
  block->outgoing = std::move(outgoing);
  block->endpoint = link->out;
  PartHeader header = block->outgoing->header();
  block->headers.resize(header.parts());
  block->pending = 1;  // ours, until all parts are posted
  ++link->out->operations;
  ++sending_;
  for (std::uint64_t part = 0; part < header.parts() && !block->failure; ++part) {
    header.part = static_cast<std::uint32_t>(part);
    block->headers[part] = encode_part_header(header);
    const auto bytes = block->outgoing->bytes().subspan(header.offset(), header.length());
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
    param.cb.send = on_sent;
    param.user_data = block.get();
    const bool eager = bytes.size() <= parts_.context.eager_bytes() && !parts_.context.on_gpu(bytes);
    param.flags = UCP_AM_SEND_FLAG_REPLY | (eager ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV);
    parts_.context.describe(bytes, param);
    const ucs_status_ptr_t request =
        ucp_am_send_nbx(block->endpoint->ep, kMessageId, block->headers[part].data(), kPartHeaderBytes,
                        bytes.data(), bytes.size(), &param);
    if (UCS_PTR_IS_ERR(request)) {
      block->failure = ucx_error(ErrorCode::unavailable, "UCX send", UCS_PTR_STATUS(request));
    } else if (request != nullptr) {
      ++block->pending;
    }
  }
  if (--block->pending == 0) {
    sent_.push_back(std::move(block));
  } else {
    block.release();  // on_sent takes it back
  }
}

void UcxNetwork::on_sent(void* request, ucs_status_t status, void* block_send) {
  auto* block = static_cast<BlockSend*>(block_send);
  ucp_request_free(request);
  if (status != UCS_OK && !block->failure)
    block->failure = ucx_error(ErrorCode::unavailable, "peer '" + block->link->peer + "'", status);
  if (--block->pending == 0) block->network->sent_.emplace_back(block);
}

void UcxNetwork::finish_send(const std::shared_ptr<Link>& link, Outgoing& outgoing, Result<void> outcome) {
  --link->window;
  outgoing.finish(std::move(outcome));
  if (link->out != nullptr) pump(link);
}

// Which transport UCX chose, for people. Known once something went either way.
void UcxNetwork::learn_link(Link& link, ucp_ep_h ep) {
  link.named = true;
  std::string text = ucx_link_name(ep);
  if (text.empty()) return;
  std::lock_guard lock(mutex_);
  link_texts_[link.peer] = std::move(text);
}

// ---- receiving ----

ucs_status_t UcxNetwork::on_am(void* self, const void* header, std::size_t header_bytes, void* data,
                               std::size_t bytes, const ucp_am_recv_param_t* param) {
  return static_cast<UcxNetwork*>(self)->on_message({static_cast<const std::byte*>(header), header_bytes},
                                                    data, bytes, *param);
}

// The connection that a part came on, if the sender it names may use it.
UcxNetwork::Endpoint* UcxNetwork::known_sender(ucp_ep_h ep, Hash128 sender) {
  const auto found = endpoints_.find(ep);
  if (found == endpoints_.end() || !found->second->incoming) return nullptr;
  Endpoint& endpoint = *found->second;
  if (endpoint.sender == Hash128{}) {
    endpoint.sender = sender;
    for (const auto& [peer, link] : links_)
      if (link->sender == sender && !link->named) learn_link(*link, ep);
  }
  if (endpoint.sender != sender) return nullptr;
  if (!refused_.contains(sender)) return &endpoint;
  failed_.push_back(&endpoint);
  return nullptr;
}

// UCS_OK without having started a receive lets UCX forget the message; of a rendezvous it then tells the
// sender that it is done. Memory is touched only through a Landing.
ucs_status_t UcxNetwork::on_message(std::span<const std::byte> header_bytes, void* data, std::size_t bytes,
                                    const ucp_am_recv_param_t& param) {
  const auto header = parse_part_header(header_bytes);
  const bool has_ep = (param.recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0;
  Endpoint* endpoint = header && has_ep ? known_sender(param.reply_ep, header->sender) : nullptr;
  if (endpoint == nullptr) {
    parts_.table.count_dropped();
    return UCS_OK;
  }
  auto landing = parts_.table.begin(*header, bytes, endpoint->source);
  if (!landing) return UCS_OK;
  if ((param.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) {
    const std::span<const std::byte> part(static_cast<const std::byte*>(data), bytes);
    Result<void> written;
    if (parts_.options.direct)  // from a peer whose network has no rendezvous
      written = parts_.options.memory->write(part, landing->bytes);
    else
      std::memcpy(landing->bytes.data(), part.data(), part.size());
    parts_.table.end(std::move(*landing), std::move(written));
    return UCS_OK;
  }
  auto receive = std::make_unique<Receive>(Receive{this, endpoint, std::move(*landing)});
  const std::span<std::byte> destination = receive->landing.bytes;
  ucp_request_param_t receive_param{};
  receive_param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  receive_param.cb.recv_am = on_received;
  receive_param.user_data = receive.get();
  parts_.context.describe(destination, receive_param);
  const ucs_status_ptr_t request =
      ucp_am_recv_data_nbx(worker_->get(), data, destination.data(), destination.size(), &receive_param);
  if (UCS_PTR_IS_PTR(request)) {
    ++receiving_;
    ++endpoint->operations;
    (void)receive.release();  // on_received takes it back
    return UCS_OK;
  }
  const ucs_status_t status = request == nullptr ? UCS_OK : UCS_PTR_STATUS(request);
  parts_.table.end(std::move(receive->landing),
                   status == UCS_OK ? Result<void>()
                                    : Result<void>(ucx_error(ErrorCode::unavailable, "UCX receive", status)));
  return UCS_OK;
}

void UcxNetwork::on_received(void* request, ucs_status_t status, std::size_t bytes, void* receive_pointer) {
  const std::unique_ptr<Receive> receive(static_cast<Receive*>(receive_pointer));
  ucp_request_free(request);
  --receive->endpoint->operations;
  --receive->network->receiving_;
  Result<void> outcome;
  if (status != UCS_OK) {
    outcome = ucx_error(ErrorCode::unavailable, "the sender went away", status);
  } else if (bytes != receive->landing.bytes.size()) {
    outcome = make_error(ErrorCode::corrupt, "the part is shorter than its header says");
  }
  receive->network->parts_.table.end(std::move(receive->landing), std::move(outcome));
}

void UcxNetwork::on_endpoint_error(void* pointer, ucp_ep_h, ucs_status_t status) {
  auto* endpoint = static_cast<Endpoint*>(pointer);
  endpoint->error = status;
  endpoint->network->failed_.push_back(endpoint);
}

void UcxNetwork::on_connection(ucp_conn_request_h request, void* self) {
  static_cast<UcxNetwork*>(self)->requests_.push_back(request);
}

}  // namespace baton::transfer
