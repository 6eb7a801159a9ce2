#include "baton/peer/resolve.hpp"

#include <netdb.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

namespace baton::peer {
namespace {

namespace asio = boost::asio;
using Endpoint = asio::ip::tcp::endpoint;
using Endpoints = std::vector<Endpoint>;

// Between a waiting coroutine and its lookup thread; shared because either may go first.
struct Lookup {
  std::mutex mutex;
  asio::steady_timer* waiting = nullptr;  // null once nobody waits: then the io_context may be gone
  std::optional<Result<Endpoints>> answer;
};

// Ends the wait however the coroutine ends, also by being destroyed.
struct Waiter {
  std::shared_ptr<Lookup> lookup;
  ~Waiter() {
    std::lock_guard lock(lookup->mutex);
    lookup->waiting = nullptr;
  }
};

std::optional<Endpoint> literal(const HostPort& address) {
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(address.host, error);
  if (error) return std::nullopt;
  return Endpoint(ip, address.port);
}

void answer(const std::shared_ptr<Lookup>& lookup, Result<Endpoints> endpoints) {
  std::lock_guard lock(lookup->mutex);
  if (lookup->waiting == nullptr) return;
  lookup->answer = std::move(endpoints);
  // The timer belongs to the io thread: wake it there, if it still waits by then.
  asio::post(lookup->waiting->get_executor(), [lookup] {
    std::lock_guard again(lookup->mutex);
    if (lookup->waiting != nullptr) lookup->waiting->cancel();
  });
}

}  // namespace

Result<Endpoints> resolve_now(const HostPort& address) {
  if (const auto endpoint = literal(address)) return Endpoints{*endpoint};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(address.host.c_str(), nullptr, &hints, &found);
  if (status != 0) {
    return make_error(ErrorCode::unavailable,
                      "cannot resolve " + address.host + ": " + std::string(gai_strerror(status)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, freeaddrinfo);
  Endpoints out;
  for (const addrinfo* a = list.get(); a != nullptr; a = a->ai_next) {
    Endpoint endpoint;
    if (a->ai_addrlen > endpoint.capacity()) continue;
    std::memcpy(endpoint.data(), a->ai_addr, a->ai_addrlen);
    endpoint.resize(a->ai_addrlen);
    endpoint.port(address.port);
    out.push_back(endpoint);
  }
  if (out.empty())
    return make_error(ErrorCode::unavailable, "cannot resolve " + address.host + ": no address");
  return out;
}

asio::awaitable<Result<Endpoints>> resolve(HostPort address, Duration timeout) {
  if (const auto endpoint = literal(address)) co_return Endpoints{*endpoint};

  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(timeout);
  const auto lookup = std::make_shared<Lookup>();
  lookup->waiting = &timer;
  const Waiter waiter{lookup};
  std::thread([lookup, address] { answer(lookup, resolve_now(address)); }).detach();
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));

  std::lock_guard lock(lookup->mutex);
  if (lookup->answer) co_return *std::move(lookup->answer);
  co_return make_error(ErrorCode::unavailable, "cannot resolve " + address.host + ": no answer");
}

}  // namespace baton::peer
