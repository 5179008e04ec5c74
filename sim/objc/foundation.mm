// The few Foundation classes that the Metal backend uses.
#import <Foundation/Foundation.h>

#include "objc/foundation_objects.h"
#include "objc/runtime.h"
#include "objc/runtime_abi.h"
#include "objc/validation.h"

using namespace metalhead::sim;

@implementation NSObject
+ (instancetype)alloc {
  return (__bridge_transfer id)sim_objc_allocate((__bridge void*)self);
}
+ (instancetype)new {
  return [[self alloc] init];
}
+ (Class)class {
  return self;
}
- (instancetype)init {
  return self;
}
- (void)dealloc {
  sim_objc_deallocate((__bridge void*)self);
}
- (id)copy {
  return self;
}
- (BOOL)respondsToSelector:(SEL)selector {
  return sim_objc_responds((__bridge void*)self, (void*)selector);
}
@end

@implementation NSString
+ (instancetype)stringWithUTF8String:(const char*)text {
  return make_string(text);
}
- (NSUInteger)length {
  return std::string(self.UTF8String).size();
}
- (const char*)UTF8String {
  return "";
}
@end

@implementation SimString
- (const char*)UTF8String {
  return text_.c_str();
}
@end

@implementation NSConstantString
- (const char*)UTF8String {
  return static_cast<const ConstantString*>((__bridge void*)self)->text;
}
@end

@implementation NSTaggedString
- (const char*)UTF8String {
  return tagged_string_text((__bridge void*)self);
}
@end

@implementation NSArray
+ (instancetype)arrayWithObjects:(const id[])objects count:(NSUInteger)count {
  return make_array(std::vector<id>(objects, objects + count));
}
- (NSUInteger)count {
  return 0;
}
- (id)objectAtIndex:(NSUInteger)index {
  report_misuse("NSArray: index " + std::to_string(index) + " is past the end");
  return nil;
}
- (id)objectAtIndexedSubscript:(NSUInteger)index {
  return [self objectAtIndex:index];
}
@end

@implementation SimArray
- (NSUInteger)count {
  return objects_.size();
}
- (id)objectAtIndex:(NSUInteger)index {
  if (index >= objects_.size()) return [super objectAtIndex:index];
  return objects_[index];
}
@end

@implementation NSURL {
 @public
  NSString* path_;
}
+ (NSURL*)fileURLWithPath:(NSString*)path {
  NSURL* url = [NSURL new];
  url->path_ = path;
  return url;
}
- (NSString*)path {
  return path_;
}
@end

@implementation NSError {
 @public
  NSString* domain_;
  NSString* description_;
  NSInteger code_;
}
- (NSInteger)code {
  return code_;
}
- (NSString*)domain {
  return domain_;
}
- (NSString*)localizedDescription {
  return description_;
}
+ (NSError*)errorWithDomain:(NSString*)domain code:(NSInteger)code text:(NSString*)text {
  NSError* error = [NSError new];
  error->domain_ = domain;
  error->description_ = text;
  error->code_ = code;
  return error;
}
@end

@interface NSError (Making)
+ (NSError*)errorWithDomain:(NSString*)domain code:(NSInteger)code text:(NSString*)text;
@end

namespace metalhead::sim {

NSString* make_string(const std::string& text) {
  SimString* string = [SimString new];
  string->text_ = text;
  return string;
}

NSArray* make_array(const std::vector<id>& objects) {
  SimArray* array = [SimArray new];
  array->objects_ = objects;
  return array;
}

NSError* make_error(NSString* domain, NSInteger code, const std::string& text) {
  return [NSError errorWithDomain:domain code:code text:make_string(text)];
}

std::string text_of(NSString* string) { return string != nil ? string.UTF8String : ""; }

}  // namespace metalhead::sim
