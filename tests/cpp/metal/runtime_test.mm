// The Objective-C runtime under ARC: strings, blocks, pools, C++ members, exceptions.
#import <Foundation/Foundation.h>

#include <stdexcept>

#include "api_fixture.h"

@interface Probe : NSObject {
 @public
  std::string text_;
  NSString* other_;
}
@property(copy, nonatomic) NSString* name;
@property(copy, atomic) void (^block)(void);
@end

@implementation Probe
- (double)sumOf:(double)a and:(int)b and:(MTLSize)size and:(float)c {
  return a + b + static_cast<double>(size.width + size.height + size.depth) + static_cast<double>(c);
}
- (MTLSize)sizeOf:(NSUInteger)edge {
  return MTLSizeMake(edge, edge + 1, edge + 2);
}
@end

@interface Probe (Added)
- (int)added;
@end

@implementation Probe (Added)
- (int)added {
  return 42;
}
@end

namespace metalhead::metal_test {
namespace {

TEST(RuntimeTest, string_constants_of_both_kinds) {
  @autoreleasepool {
    EXPECT_STREQ(@"short".UTF8String, "short");
    EXPECT_STREQ(@"".UTF8String, "");
    EXPECT_STREQ(@"exactly8".UTF8String, "exactly8");
    EXPECT_STREQ(@"a string constant that is too long for a pointer".UTF8String,
                 "a string constant that is too long for a pointer");
    EXPECT_EQ(@"exactly8".length, 8u);
    EXPECT_STREQ([NSString stringWithUTF8String:"made at run time"].UTF8String, "made at run time");
  }
}

TEST(RuntimeTest, arguments_and_structs_pass_through_message_sends) {
  @autoreleasepool {
    Probe* probe = [Probe new];
    EXPECT_EQ([probe sumOf:0.5 and:2 and:MTLSizeMake(1, 2, 3) and:0.25f], 8.75);
    EXPECT_EQ([probe sizeOf:7].depth, 9u);
    EXPECT_EQ([probe added], 42);
    EXPECT_TRUE([probe respondsToSelector:@selector(added)]);
    EXPECT_FALSE([probe respondsToSelector:@selector(commit)]);
    Probe* none = nil;
    EXPECT_EQ([none sizeOf:7].depth, 0u);
    EXPECT_EQ([none added], 0);
  }
}

TEST(RuntimeTest, members_properties_and_blocks_are_released) {
  @autoreleasepool {
    Probe* probe = [Probe new];
    probe->text_ = std::string(1000, 'x');
    probe->other_ = [NSString stringWithUTF8String:"held"];
    probe.name = [NSString stringWithUTF8String:"named"];
    NSString* captured = [NSString stringWithUTF8String:"captured"];
    __block int calls = 0;
    probe.block = ^{
      calls += static_cast<int>(captured.length);
    };
    probe.block();
    EXPECT_EQ(calls, 8);
    EXPECT_EQ(sim::live_objects("Probe"), 1);
  }
  EXPECT_EQ(sim::live_objects("Probe"), 0);
  EXPECT_EQ(leak_report(), "");
}

TEST(RuntimeTest, strong_references_survive_an_exception_outside_a_pool) {
  try {
    Probe* probe = [Probe new];
    probe->text_ = "on its way out";
    throw std::runtime_error(probe->text_);
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "on its way out");
  }
  EXPECT_EQ(sim::live_objects("Probe"), 0);
}

TEST(RuntimeTest, arrays) {
  @autoreleasepool {
    NSArray<NSString*>* array = @[ @"one", [NSString stringWithUTF8String:"two"] ];
    EXPECT_EQ(array.count, 2u);
    EXPECT_STREQ(array[1].UTF8String, "two");
    sim::MisuseRecorder recorder;
    EXPECT_EQ(array[2], nil);
    EXPECT_TRUE(recorder.saw("index 2 is past the end"));
  }
  EXPECT_EQ(leak_report(), "");
}

}  // namespace
}  // namespace metalhead::metal_test
