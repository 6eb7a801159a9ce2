// The transfer thread of a UCX transport: the only thread that touches its ucp_worker, endpoints and links.
//
// Others reach it by commands. Incoming parts are admitted by the ReceiveTable; UCX then writes straight into
// their destination. Invariants:
// - a receive is given back to the table only when UCX has completed it, and UCX completes the receives of a
//   force-closed endpoint only after that endpoint's connection is destroyed: nothing writes after on_closed;
// - `done` of a block is called only when UCX has completed all its parts;
// - an Endpoint object outlives every UCX operation that may mention it.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "outgoing.hpp"
#include "receive_table.hpp"
#include "source_filter.hpp"
#include "ucx_address.hpp"
#include "ucx_context.hpp"
#include "ucx_worker.hpp"

namespace baton::transfer {

class UcxNetwork {
 public:
  struct Parts {
    const TransportOptions& options;
    UcxContext& context;
    ReceiveTable& table;
    TaskThread& tasks;
    Logger& logger;
    Hash128 self;  // our identity, in every header
  };
  explicit UcxNetwork(const Parts& parts);
  ~UcxNetwork();  // stops

  Result<std::uint16_t> start(const IpAddress& listen);  // the listener's port
  // Ends every send, closes every connection, joins the thread. False if UCX did not let go of everything in
  // time: then worker and context are left as they are, since destroying them would abort.
  bool stop();

  // From any thread:
  void connect(std::string peer, UcxAddress address);
  void disconnect(std::string peer);
  void send(std::shared_ptr<Outgoing> outgoing);
  std::string link(const std::string& peer) const;

 private:
  struct Endpoint;
  struct Link;
  struct BlockSend;
  struct Receive;

  void post(std::function<void()> command, std::function<void()> if_stopped = nullptr);
  bool has_commands() const;

  // The transfer thread:
  void run();
  void turn();
  void run_commands();
  void reap();
  void shut_down();
  bool quiet() const;

  void accept_requests();
  void open_link(const std::string& peer, const UcxAddress& address);
  void cut(const std::string& peer);
  void drop_link(Link& link);
  Endpoint* open_endpoint(ucp_ep_params_t& params);
  void close_endpoint(Endpoint& endpoint);

  void enqueue(std::shared_ptr<Outgoing> outgoing);
  void pump(const std::shared_ptr<Link>& link);
  void start_send(const std::shared_ptr<Link>& link, std::shared_ptr<Outgoing> outgoing,
                  Outgoing::Verdict verdict);
  void finish_send(const std::shared_ptr<Link>& link, Outgoing& outgoing, Result<void> outcome);
  void learn_link(Link& link, ucp_ep_h ep);

  ucs_status_t on_message(std::span<const std::byte> header, void* data, std::size_t bytes,
                          const ucp_am_recv_param_t& param);
  Endpoint* known_sender(ucp_ep_h ep, Hash128 sender);
  static ucs_status_t on_am(void* self, const void* header, std::size_t header_bytes, void* data,
                            std::size_t bytes, const ucp_am_recv_param_t* param);
  static void on_received(void* request, ucs_status_t status, std::size_t bytes, void* receive);
  static void on_sent(void* request, ucs_status_t status, void* block_send);
  static void on_endpoint_error(void* endpoint, ucp_ep_h, ucs_status_t status);
  static void on_connection(ucp_conn_request_h request, void* self);

  const Parts parts_;
  std::unique_ptr<UcxWorker> worker_;
  ucp_listener_h listener_ = nullptr;
  IpAddress listen_;
  std::uint16_t listener_port_ = 0;
  SourceFilter filter_;
  std::thread thread_;

  mutable std::mutex mutex_;  // commands_, stopped_, link_texts_
  std::vector<std::function<void()>> commands_;
  bool stopped_ = false;
  std::map<std::string, std::string> link_texts_;
  std::atomic<bool> stopping_{false};

  // The transfer thread's own:
  std::map<std::string, std::shared_ptr<Link>> links_;  // shared with sends that are being digested
  std::unordered_map<ucp_ep_h, std::unique_ptr<Endpoint>> endpoints_;
  std::vector<std::unique_ptr<Endpoint>> closing_;
  std::set<Hash128> refused_;  // senders that were disconnected
  std::vector<ucp_conn_request_h> requests_;
  std::vector<Endpoint*> failed_;
  std::vector<std::unique_ptr<BlockSend>> sent_;
  std::size_t digesting_ = 0, sending_ = 0, receiving_ = 0;
  SourceId last_source_ = 0;
  std::chrono::steady_clock::time_point last_opened_{}, last_moved_{};
  bool clean_ = true;
};

}  // namespace baton::transfer
