/**
 * Failures, and the codes they travel under (moq-lite-06, "Session errors", "Stream errors").
 * The same tree as moqvox/errors.py.
 */

/** Why a session was closed. */
export const SessionCode = Object.freeze({
  NO_ERROR: 0x0,
  INTERNAL: 0x1,
  UNAUTHORIZED: 0x2,
  PROTOCOL_VIOLATION: 0x3,
  EXCESSIVE_LOAD: 0x9,
  CONTROL_TIMEOUT: 0x11,
  VERSION: 0x15,
  /** Ours: a call goes on over another connection. A close with code 0 would hang up. */
  MOVED: 0x40,
});

/** Why a stream was reset. */
export const StreamCode = Object.freeze({
  INTERNAL: 0x0,
  CANCELLED: 0x1,
  SESSION_CLOSED: 0x3,
  GOING_AWAY: 0x4,
  TOO_FAR_BEHIND: 0x5,
  EXCESSIVE_LOAD: 0x9,
  MALFORMED_TRACK: 0x12,
  UNAUTHORIZED: 0x32,
  NOT_FOUND: 0x33,
  UNSUPPORTED: 0x34,
});

/** Anything this library throws on purpose. */
export class MoqError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The caller asked for something illegal or over a local limit; nothing was sent. */
export class LocalError extends MoqError {}

/** The peer broke the protocol; the session is closed with `code`. */
export class RemoteError extends MoqError {
  constructor(code, reason) {
    super(reason);
    this.code = code;
  }
}

/** The session is over; `code` 0 is a normal end. */
export class SessionClosed extends MoqError {
  constructor(code = 0, reason = "") {
    super(reason || `session closed with code 0x${code.toString(16)}`);
    this.code = code;
    this.reason = reason;
  }
}

/** The peer refused one request, with a StreamCode or an application's code from 64 on. */
export class Refused extends MoqError {
  constructor(code, reason = "") {
    super(reason || `refused with code 0x${code.toString(16)}`);
    this.code = code;
  }
}

/** A group or a track ended early under a StreamCode. */
export class StreamEnded extends MoqError {
  constructor(code, reason = "") {
    super(reason || `ended early with code 0x${code.toString(16)}`);
    this.code = code;
  }
}

/** Audio, container or event bytes that break their format. */
export class MediaError extends MoqError {}

/** The browser lacks something, or its user refused it; `what` names it. */
export class Unavailable extends MoqError {
  constructor(what, reason, options) {
    super(reason, options);
    this.what = what;
  }
}

/** Bytes that break the protocol. */
export function violation(reason) {
  return new RemoteError(SessionCode.PROTOCOL_VIOLATION, reason);
}
