// Numbers of a program that a plan keeps: copies, since the program's bytes may go.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "plan/layout.h"

namespace optkit {

class Numbers {
public:
    /// @param memory  holds them from now on.
    explicit Numbers(std::vector<std::unique_ptr<float[]>>& memory) : memory_(memory) {}

    /// A copy, the same for the same numbers; null for none.
    const float* copy(const View<float>& numbers) {
        if (!numbers)
            return nullptr;
        const float*& copy = copies_[{numbers.data, numbers.size}];
        if (!copy) {
            float* target = reserve(numbers.size);
            std::copy(numbers.data, numbers.data + numbers.size, target);
            copy = target;
        }
        return copy;
    }

    /// `count` times `number`.
    const float* fill(size_t count, float number) {
        float* target = reserve(count);
        std::fill_n(target, count, number);
        return target;
    }

private:
    /// Whole rows of kernels, zeros at the end.
    float* reserve(size_t count) {
        memory_.emplace_back(new float[padded(uint32_t(count))]());
        return memory_.back().get();
    }

    std::vector<std::unique_ptr<float[]>>& memory_;
    std::map<std::pair<const float*, size_t>, const float*> copies_;
};

}  // namespace optkit
