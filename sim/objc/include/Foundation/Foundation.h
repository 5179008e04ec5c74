// Declarations of the few Foundation classes that the Metal backend uses, under Apple's names.
#pragma once

#include <stddef.h>
#include <stdint.h>
#ifdef __APPLE__
#include <TargetConditionals.h>
#include <objc/NSObject.h>
#include <objc/objc.h>
#endif

#define NS_ENUM(Type, Name) \
  enum Name : Type Name;    \
  enum Name : Type
#define NS_OPTIONS(Type, Name) \
  Type Name;                   \
  enum : Type
#define NS_ASSUME_NONNULL_BEGIN _Pragma("clang assume_nonnull begin")
#define NS_ASSUME_NONNULL_END _Pragma("clang assume_nonnull end")
#define NS_RETURNS_INNER_POINTER __attribute__((objc_returns_inner_pointer))
#ifndef FOUNDATION_EXPORT
#define FOUNDATION_EXPORT extern "C"
#endif

typedef double CFTimeInterval;

#ifndef __APPLE__
extern "C" {
typedef struct objc_class* Class;
typedef struct objc_object {
  Class isa;
}* id;
typedef struct objc_selector* SEL;
}
typedef bool BOOL;
typedef unsigned long NSUInteger;
typedef long NSInteger;
#define YES true
#define NO false
#define nil nullptr

@protocol NSObject
- (BOOL)respondsToSelector:(SEL)selector;
@end

__attribute__((objc_root_class))
@interface NSObject<NSObject> {
 @public
  Class isa;
}
+ (instancetype)alloc;
+ (instancetype)new;
+ (Class)class;
- (instancetype)init;
- (void)dealloc;
- (id)copy;
@end
#endif

NS_ASSUME_NONNULL_BEGIN

typedef struct {
  NSUInteger location, length;
} NSRange;

static inline NSRange NSMakeRange(NSUInteger location, NSUInteger length) {
  NSRange range = {location, length};
  return range;
}

@interface NSString : NSObject
+ (nullable instancetype)stringWithUTF8String:(const char*)text;
@property(readonly) NSUInteger length;
@property(nullable, readonly) const char* UTF8String NS_RETURNS_INNER_POINTER;
@end

@interface NSConstantString : NSString
@end

@interface NSArray<__covariant ObjectType> : NSObject
+ (instancetype)arrayWithObjects:(const ObjectType _Nonnull[_Nonnull])objects count:(NSUInteger)count;
@property(readonly) NSUInteger count;
- (ObjectType)objectAtIndex:(NSUInteger)index;
- (ObjectType)objectAtIndexedSubscript:(NSUInteger)index;
@end

@interface NSURL : NSObject
+ (NSURL*)fileURLWithPath:(NSString*)path;
@property(nullable, readonly, copy) NSString* path;
@end

@interface NSError : NSObject
@property(readonly) NSInteger code;
@property(readonly, copy) NSString* domain;
@property(readonly, copy) NSString* localizedDescription;
@end

NS_ASSUME_NONNULL_END
