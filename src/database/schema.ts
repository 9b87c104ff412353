/** All tables. drizzle-kit compares them with the migrations. */
export * from './job-schema.ts'
export * from './worker-schema.ts'
export * from './history-schema.ts'
export * from './process-schema.ts'
export * from './statistics-schema.ts'
export * from './webhook-schema.ts'
export * from './badge-schema.ts'
