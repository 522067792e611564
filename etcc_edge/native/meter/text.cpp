#include "meter/text.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <string_view>

namespace etcc::meter {

namespace {

constexpr std::size_t port_column = 0, target_port_column = 1, protocol_column = 2, first_figure_column = 3;

double divided(std::int64_t a, std::int64_t b) {
  const std::int64_t whole = b > 0 ? a / b : 0;  // the Java program divides whole numbers
  return static_cast<double>(whole);
}

// Fills an array of cells from its begin.
class Cells {
 public:
  explicit Cells(int no_time) : no_time_(static_cast<double>(no_time)) {}
  void whole(double value) { put({.value = value}); }
  void whole(std::int64_t value) { whole(static_cast<double>(value)); }
  void real(double value) { put({.value = value, .is_real = true}); }
  void real_or_absent(bool is_there, double value) { put(is_there ? Cell{.value = value, .is_real = true} : Cell{}); }
  void lengths(const Summary& lengths) {
    const bool any = lengths.count > 0;
    real_or_absent(any, lengths.max);
    real_or_absent(any, lengths.min);
    real_or_absent(any, lengths.mean);
    real_or_absent(any, lengths.deviation());
  }
  void gaps(const Summary& gaps) {
    real_or_absent(gaps.count > 0, gaps.sum);
    spread(gaps);
  }
  void spread(const Summary& values) {
    const bool any = values.count > 0;
    real_or_absent(any, values.mean);
    real_or_absent(any, values.deviation());
    extreme(any, values.max);
    extreme(any, values.min);
  }
  const std::array<Cell, number_columns>& all() const { return cells_; }

 private:
  void extreme(bool is_there, double time) {
    put(is_there ? Cell{.value = time, .is_real = true} : Cell{.value = no_time_});
  }
  void put(Cell cell) { cells_[size_++] = cell; }

  std::array<Cell, number_columns> cells_{};
  std::size_t size_ = 0;
  double no_time_;
};

template <class Number>
void append_whole(std::string& out, Number value) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void append_two(std::string& out, unsigned value) {
  out += static_cast<char>('0' + value / 10);
  out += static_cast<char>('0' + value % 10);
}

}  // namespace

void append_address(std::string& out, const Address& address, std::uint8_t version) {
  if (version == 4) {
    for (std::size_t i = 0; i < 4; ++i) {
      if (i != 0) out += '.';
      append_whole(out, static_cast<unsigned>(address[i]));
    }
    return;
  }
  char digits[4];
  for (std::size_t i = 0; i < 16; i += 2) {
    if (i != 0) out += ':';
    out.append(digits, std::to_chars(digits, digits + sizeof digits, big16(address, i), 16).ptr);
  }
}

void append_time(std::string& out, std::int64_t microseconds, std::int64_t zone) {
  using namespace std::chrono;
  const sys_seconds time(floor<seconds>(std::chrono::microseconds(microseconds)) + seconds(zone));
  const sys_days day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(time - day);
  const auto hour = static_cast<unsigned>(clock.hours().count());
  append_two(out, static_cast<unsigned>(date.day()));
  out += '/';
  append_two(out, static_cast<unsigned>(date.month()));
  out += '/';
  append_whole(out, static_cast<int>(date.year()));
  out += ' ';
  append_two(out, hour % 12 == 0 ? 12 : hour % 12);
  out += ':';
  append_two(out, static_cast<unsigned>(clock.minutes().count()));
  out += ':';
  append_two(out, static_cast<unsigned>(clock.seconds().count()));
  out += hour < 12 ? " AM" : " PM";
}

namespace {

// As Java's Double.toString, always in its shortest form.
void append_real(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
    return;
  }
  if (std::signbit(value)) out += '-';
  value = std::abs(value);
  if (std::isinf(value)) {
    out += "Infinity";
    return;
  }
  if (value == 0) {
    out += "0.0";
    return;
  }
  const bool plain = value >= 1e-3 && value < 1e7;
  if (const auto whole = static_cast<std::uint32_t>(plain ? value : 0); whole == value) {
    append_whole(out, whole);
    out += ".0";
    return;
  }
  char text[32];
  const char* end =
      std::to_chars(text, text + sizeof text, value, plain ? std::chars_format::fixed : std::chars_format::scientific)
          .ptr;
  const std::string_view digits(text, static_cast<std::size_t>(end - text));
  if (plain) {
    out += digits;
    return;
  }
  const std::size_t e = digits.find('e');
  out += digits.substr(0, e);
  if (e == 1) out += ".0";
  out += 'E';
  std::string_view exponent = digits.substr(e + 1);
  if (exponent.front() == '-') out += '-';
  exponent.remove_prefix(1);
  if (exponent.front() == '0') exponent.remove_prefix(1);
  out += exponent;
}

}  // namespace

void append_cell(std::string& out, const Cell& cell) {
  if (cell.is_real) {
    append_real(out, cell.value);
  } else {
    append_whole(out, static_cast<std::int64_t>(cell.value));
  }
}

std::array<Cell, number_columns> cells_of(const Flow& flow, const Profile& profile) {
  const Summary fwd = flow.forward.lengths.summary(), bwd = flow.backward.lengths.summary();
  const Summary lengths = flow.lengths(profile), gaps = flow.gaps();
  const auto fwd_bytes = static_cast<std::int64_t>(fwd.sum);
  const auto bwd_bytes = static_cast<std::int64_t>(bwd.sum);
  const double seconds = static_cast<double>(flow.duration()) / 1e6;
  const bool lasts = flow.duration() > 0;
  const auto rate = [&](double amount) { return profile.is_corrected && !lasts ? -1.0 : amount / seconds; };
  const auto way_rate = [&](std::int64_t count) {
    return profile.is_corrected || lasts ? rate(static_cast<double>(count)) : 0.0;
  };
  Cells cells(profile.no_time);
  cells.whole(std::int64_t{flow.source_port});
  cells.whole(std::int64_t{flow.target_port});
  cells.whole(std::int64_t{flow.protocol});
  cells.whole(flow.duration());
  cells.whole(fwd.count);
  cells.whole(bwd.count);
  cells.real(fwd.sum);
  cells.real(bwd.sum);
  cells.lengths(fwd);
  cells.lengths(bwd);
  cells.real(rate(static_cast<double>(flow.bytes())));
  cells.real(rate(static_cast<double>(flow.packets())));
  cells.real(gaps.mean);
  cells.real(gaps.deviation());
  cells.real(gaps.max);
  cells.real(gaps.min);
  cells.gaps(flow.forward_gaps());
  cells.gaps(flow.backward_gaps());
  cells.whole(std::int64_t{flow.forward_pushes});
  cells.whole(std::int64_t{profile.is_corrected ? flow.flags[3] - flow.forward_pushes : 0});
  cells.whole(std::int64_t{flow.forward_urgents});
  cells.whole(std::int64_t{profile.is_corrected ? flow.flags[5] - flow.forward_urgents : 0});
  cells.whole(static_cast<std::int64_t>(flow.forward.header_bytes));
  cells.whole(static_cast<std::int64_t>(flow.backward.header_bytes));
  cells.real(way_rate(fwd.count));
  cells.real(way_rate(bwd.count));
  cells.real(lengths.min);
  cells.real(lengths.max);
  cells.real(lengths.mean);
  cells.real(lengths.deviation());
  cells.real(lengths.variance);
  for (const std::size_t bit : {0, 1, 2, 3, 4, 5, 7, 6}) cells.whole(std::int64_t{flow.flags[bit]});
  cells.real(profile.is_corrected && fwd.count > 0 ? static_cast<double>(bwd.count) / static_cast<double>(fwd.count)
                                                   : divided(bwd.count, fwd.count));
  cells.real(lengths.sum / static_cast<double>(flow.packets()));
  cells.real(fwd.count > 0 ? fwd.sum / static_cast<double>(fwd.count) : 0.0);
  cells.real(bwd.count > 0 ? bwd.sum / static_cast<double>(bwd.count) : 0.0);
  for (int i = 0; i < 3; ++i) cells.whole(std::int64_t{0});
  cells.whole(profile.backward_bulk_bytes ? divided(static_cast<std::int64_t>(flow.bulk_bytes), flow.bulks) : 0.0);
  cells.whole(divided(flow.bulk_packets, flow.bulks));
  cells.whole(flow.bulk_duration != 0
                  ? std::trunc(static_cast<double>(flow.bulk_bytes) / (static_cast<double>(flow.bulk_duration) / 1e6))
                  : 0.0);
  cells.whole(divided(fwd.count, flow.subflows));
  cells.whole(divided(fwd_bytes, flow.subflows));
  cells.whole(divided(bwd.count, flow.subflows));
  cells.whole(divided(bwd_bytes, flow.subflows));
  cells.whole(std::int64_t{flow.first_window});
  cells.whole(std::int64_t{flow.last_backward_window});
  cells.whole(std::int64_t{flow.forward.lengths.data_packets});
  cells.whole(std::int64_t{flow.least_header == Flow::no_header ? 0 : flow.least_header});
  cells.spread(flow.active());
  cells.spread(flow.idle());
  return cells.all();
}

void append_flow_id(std::string& out, const Flow& flow) {
  append_address(out, flow.source, flow.version);
  out += '-';
  append_address(out, flow.target, flow.version);
  for (const unsigned number : {unsigned{flow.source_port}, unsigned{flow.target_port}, unsigned{flow.protocol}}) {
    out += '-';
    append_whole(out, number);
  }
}

std::string header(const Profile& profile) {
  std::string out =
      "Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Total Fwd Packet,Total Bwd packets,"
      "Total Length of Fwd Packet,Total Length of Bwd Packet,Fwd Packet Length Max,Fwd Packet Length Min,"
      "Fwd Packet Length Mean,Fwd Packet Length Std,Bwd Packet Length Max,Bwd Packet Length Min,"
      "Bwd Packet Length Mean,Bwd Packet Length Std,Flow Bytes/s,Flow Packets/s,Flow IAT Mean,Flow IAT Std,"
      "Flow IAT Max,Flow IAT Min,Fwd IAT Total,Fwd IAT Mean,Fwd IAT Std,Fwd IAT Max,Fwd IAT Min,Bwd IAT Total,"
      "Bwd IAT Mean,Bwd IAT Std,Bwd IAT Max,Bwd IAT Min,Fwd PSH Flags,Bwd PSH Flags,Fwd URG Flags,Bwd URG Flags,"
      "Fwd Header Length,Bwd Header Length,Fwd Packets/s,Bwd Packets/s,Packet Length Min,Packet Length Max,"
      "Packet Length Mean,Packet Length Std,Packet Length Variance,FIN Flag Count,SYN Flag Count,RST Flag Count,"
      "PSH Flag Count,ACK Flag Count,URG Flag Count,";
  out += profile.cwr_column;
  out +=
      ",ECE Flag Count,Down/Up Ratio,Average Packet Size,Fwd Segment Size Avg,Bwd Segment Size Avg,"
      "Fwd Bytes/Bulk Avg,Fwd Packet/Bulk Avg,Fwd Bulk Rate Avg,Bwd Bytes/Bulk Avg,Bwd Packet/Bulk Avg,"
      "Bwd Bulk Rate Avg,Subflow Fwd Packets,Subflow Fwd Bytes,Subflow Bwd Packets,Subflow Bwd Bytes,"
      "FWD Init Win Bytes,Bwd Init Win Bytes,Fwd Act Data Pkts,Fwd Seg Size Min,Active Mean,Active Std,Active Max,"
      "Active Min,Idle Mean,Idle Std,Idle Max,Idle Min,Label\n";
  return out;
}

void append_row(std::string& out, const Flow& flow, const Profile& profile, std::int64_t zone) {
  const std::array<Cell, number_columns> cells = cells_of(flow, profile);
  const auto comma_cell = [&](std::size_t i) {
    out += ',';
    append_cell(out, cells[i]);
  };
  append_flow_id(out, flow);
  out += ',';
  append_address(out, flow.source, flow.version);
  comma_cell(port_column);
  out += ',';
  append_address(out, flow.target, flow.version);
  comma_cell(target_port_column);
  comma_cell(protocol_column);
  out += ',';
  append_time(out, flow.start, zone);
  for (std::size_t i = first_figure_column; i < number_columns; ++i) comma_cell(i);
  out += ',';
  out += no_label;
  out += '\n';
}

}  // namespace etcc::meter
