#include "engine/profile.h"

namespace optkit::profile {

std::atomic<bool> enabled{false};
std::atomic<uint64_t> nanoseconds[kKinds];
std::atomic<uint64_t> multiply_adds{0};

std::string read() {
    static const char* const names[kKinds] = {"load",        "quantize",   "products",  "epilogue",
                                              "elementwise", "layer_norm", "attention", "store"};
    std::string json = "{";
    for (int kind = 0; kind < kKinds; ++kind)
        json += '"' + std::string(names[kind]) + "\": " + std::to_string(nanoseconds[kind].exchange(0)) + ", ";
    return json + "\"multiply_adds\": " + std::to_string(multiply_adds.exchange(0)) + "}";
}

}  // namespace optkit::profile
