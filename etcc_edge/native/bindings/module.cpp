// The Python module `etcc_edge._native`.
#include "bindings/bindings.hpp"

NB_MODULE(_native, m) {
  bind_rows(m);
  bind_networks(m);
  bind_meter(m);
}
