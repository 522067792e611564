#include "meter/meter.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace etcc::meter {

namespace {

constexpr std::int64_t latest_clock = std::int64_t{1} << 53;  // microseconds; no packet is later, nor before its minus
constexpr std::size_t block = 64;                             // packets that set the clock
constexpr std::size_t ahead = 16;                             // packets between a fetch from memory and its use
constexpr std::size_t most_taken_in = 256;                    // packets, where one thread does all

Settings share(Settings settings, std::size_t threads) {
  settings.max_flows = std::max<std::size_t>(settings.max_flows / threads, 1);
  settings.max_directions /= threads;
  return settings;
}

}  // namespace

Meter::Meter(const Profile& profile, const Settings& settings, bool strict, std::size_t threads)
    : strict_(strict),
      looks_(settings.after_time != 0),
      most_lag_(settings.timeout),
      pool_(threads),
      newest_(-latest_clock) {
  for (std::size_t i = 0; i < pool_.threads(); ++i) shards_.emplace_back(profile, share(settings, pool_.threads()));
}

void Meter::feed(Bytes bytes) {
  capture_.feed(bytes);
  if (shards_.size() == 1) {
    for (Frame frame; capture_.next(frame);) add(frame);
    settle();
    return;
  }
  // The piece before is at work while this one is read.
  pool_.run(shards_.size() + 1, [this](std::size_t task) {
    if (task == 0) {
      for (Frame frame; capture_.next(frame);) take_in(frame);
    } else {
      work(shards_[task - 1]);
    }
  });
  hand_over();
}

void Meter::add(const Frame& frame) {
  take_in(frame);
  if (taken_in_ >= most_taken_in) settle();
}

void Meter::settle() {
  const auto work_on_all = [this] { pool_.run(shards_.size(), [this](std::size_t task) { work(shards_[task]); }); };
  if (shards_.size() > 1) work_on_all();  // on the piece before
  hand_over();
  work_on_all();
  ticks_.clear();
}

void Meter::expire(std::int64_t clock) {
  clock = std::clamp(clock, -latest_clock, latest_clock);
  settle();
  number_ += 2;
  for (Shard& shard : shards_) {
    shard.table.expire(clock, clock, shard.finished);
    shard.note(number_ - 1, Phase::expire);
    shard.table.look(clock, shard.finished);
    shard.note(number_, Phase::look);
  }
}

void Meter::finish() {
  capture_.finish();
  settle();
  ++number_;
  for (Shard& shard : shards_) {
    shard.table.finish(shard.finished);
    shard.note(number_, Phase::finish);
  }
}

std::size_t Meter::ended() const {
  std::size_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.finished.size();
  return sum;
}

std::vector<Flow> Meter::take() {
  if (shards_.size() == 1) {
    Shard& shard = shards_.front();
    shard.steps.clear();
    std::vector<Flow> next;
    next.reserve(128);
    return std::exchange(shard.finished, std::move(next));
  }
  struct Rest {
    const Shard* shard;
    std::size_t at = 0;
    bool is_empty() const { return at == shard->finished.size(); }
    auto key() const { return std::tuple(shard->steps[at], shard->finished[at].number); }
  };
  std::vector<Rest> rests;
  std::size_t count = 0;
  for (const Shard& shard : shards_) {
    rests.push_back({.shard = &shard});
    count += shard.finished.size();
  }
  std::vector<Flow> finished;
  finished.reserve(count);
  for (;;) {
    Rest* first = nullptr;
    for (Rest& rest : rests) {
      if (!rest.is_empty() && (first == nullptr || rest.key() < first->key())) first = &rest;
    }
    if (first == nullptr) break;
    finished.push_back(first->shard->finished[first->at++]);
  }
  for (Shard& shard : shards_) {
    shard.finished.clear();
    shard.steps.clear();
  }
  return finished;
}

std::size_t Meter::open_flows() const {
  std::size_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.table.open_flows();
  return sum;
}

std::uint64_t Meter::evicted() const {
  std::uint64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.table.evicted();
  return sum;
}

std::uint64_t Meter::lone() const {
  std::uint64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.table.lone();
  return sum;
}

void Meter::take_in(const Frame& frame) {
  ++frames_;
  Item item;
  item.number = ++number_;
  const Skip skip = decode(frame, strict_, item.packet);
  ++skips_[static_cast<std::size_t>(skip)];
  if (skip != Skip::none) return;
  pass(item.packet.time);
  item.hash = shards_.front().table.hash(item.packet);
  shards_[(item.hash >> 48) * shards_.size() >> 16].filling.push_back(item);
  ++taken_in_;
}

// The packets' clock. Clocks jump, and captures are joined out of order: only a whole block of packets ends flows, and
// one packet alone never makes another flow old. A block that lies behind one before it may be followed by others that
// do: flows wait for as long, their timeout at most.
void Meter::pass(std::int64_t time) {
  Tick tick{.number = number_};
  if (looks_) tick.look = std::min(time, std::exchange(last_time_, time));
  earliest_ = in_block_ == 0 ? time : std::min(earliest_, time);
  latest_ = in_block_ == 0 ? time : std::max(latest_, time);
  if (++in_block_ == block) {
    in_block_ = 0;
    lag_ = std::clamp(newest_ - earliest_, lag_, most_lag_);
    newest_ = std::max(newest_, latest_);
    if (!strict_) {
      tick.expire = earliest_ - lag_;
      tick.latest = latest_;
    }
  }
  if (tick.look != no_clock || tick.expire != no_clock) filling_ticks_.push_back(tick);
}

void Meter::Shard::note(std::uint64_t number, Phase phase) {
  steps.resize(finished.size(), number * phases + static_cast<std::uint64_t>(phase));
}

// What was read goes to the tables, which have done all before.
void Meter::hand_over() {
  for (Shard& shard : shards_) std::swap(shard.filling, shard.items);
  std::swap(filling_ticks_, ticks_);
  filling_ticks_.clear();
  taken_in_ = 0;
}

void Meter::work(Shard& shard) {
  FlowTable& table = shard.table;
  auto tick = ticks_.begin();
  const auto pass_until = [&](std::uint64_t number) {
    for (; tick != ticks_.end() && tick->number <= number; ++tick) {
      if (tick->look != no_clock) table.look(tick->look, shard.finished);
      shard.note(tick->number, Phase::look);
      if (tick->expire != no_clock) table.expire(tick->expire, tick->latest, shard.finished);
      shard.note(tick->number, Phase::expire);
    }
  };
  const std::size_t count = shard.items.size();
  for (std::size_t i = 0; i < std::min(ahead, count); ++i) table.fetch_cell(shard.items[i].hash);
  for (std::size_t i = 0; i < count + ahead; ++i) {
    if (i + ahead < count) table.fetch_cell(shard.items[i + ahead].hash);
    if (i < count) table.fetch_flow(shard.items[i].hash);
    if (i < ahead) continue;
    const Item& item = shard.items[i - ahead];
    pass_until(item.number);
    table.add(item.packet, item.hash, item.number, shard.finished);
    shard.note(item.number, Phase::add);
  }
  pass_until(std::numeric_limits<std::uint64_t>::max());
  shard.items.clear();
}

}  // namespace etcc::meter
